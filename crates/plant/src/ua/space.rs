//! The node manager: an in-memory address space whose writes and calls go through hooks.
//!
//! Invariants:
//! - A write is accepted by the hook before the node changes, and the node has changed before
//!   the client gets its answer, so a read after a write sees it.
//! - Lock order: the address space first, then whatever the hook locks.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use opcua::nodes::DefaultTypeTree;
use opcua::server::CreateMonitoredItem;
use opcua::server::address_space::{AddressSpace, NodeType};
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{
    InMemoryNodeManager, InMemoryNodeManagerImpl, InMemoryNodeManagerImplBuilder,
};
use opcua::server::node_manager::{MethodCall, RequestContext, ServerContext, WriteNode};
use opcua::sync::RwLock;
use opcua::types::{AttributeId, DataValue, NodeId, NumericRange, StatusCode, TimestampsToReturn, Variant};

/// The node manager of a plant server, as the server hands it out.
pub(crate) type Space = InMemoryNodeManager<SpaceImpl>;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What makes one server's nodes different from another's.
pub(crate) trait NodeHooks: Send + Sync + 'static {
    /// URI of the one namespace.
    fn namespace_uri(&self) -> &str;

    /// Puts the nodes into an empty space; `namespace` is the index of the one namespace.
    fn populate(&self, space: &mut AddressSpace, namespace: u16);

    /// Accepts a write to a writable variable, or says why not.
    fn write(&self, node: &NodeId, value: &Variant) -> Result<(), StatusCode>;

    /// Calls a method.
    fn call(&self, method: &NodeId) -> Result<Vec<Variant>, StatusCode>;
}

/// Builds the node manager of some hooks.
pub(super) struct SpaceBuilder(pub(super) Arc<dyn NodeHooks>);

impl InMemoryNodeManagerImplBuilder for SpaceBuilder {
    type Impl = SpaceImpl;

    fn build(self, context: ServerContext, space: &mut AddressSpace) -> SpaceImpl {
        let uri = self.0.namespace_uri().to_owned();
        let index = context.type_tree.write().namespaces_mut().add_namespace(&uri);
        space.add_namespace(&uri, index);
        self.0.populate(space, index);
        SpaceImpl {
            hooks: self.0,
            namespace: NamespaceMetadata { namespace_uri: uri, namespace_index: index, ..Default::default() },
        }
    }
}

/// The node manager's own part; see the module.
pub(crate) struct SpaceImpl {
    hooks: Arc<dyn NodeHooks>,
    namespace: NamespaceMetadata,
}

impl SpaceImpl {
    fn write_one(
        &self,
        context: &RequestContext,
        space: &mut AddressSpace,
        types: &DefaultTypeTree,
        write: &mut WriteNode,
    ) -> Result<(), StatusCode> {
        let wanted = write.value();
        let node = space.validate_node_write(context, wanted, types)?;
        let NodeType::Variable(variable) = node else {
            return Err(StatusCode::BadNotWritable);
        };
        if wanted.attribute_id != AttributeId::Value || wanted.index_range.has_range() {
            return Err(StatusCode::BadWriteNotSupported);
        }
        let Some(value) = &wanted.value.value else {
            return Err(StatusCode::BadTypeMismatch);
        };
        self.hooks.write(&wanted.node_id, value)?;
        variable.set_data_value(DataValue::new_now(value.clone()));
        Ok(())
    }

    fn write_all(&self, context: &RequestContext, space: &RwLock<AddressSpace>, writes: &mut [&mut WriteNode]) {
        let mut space = space.write();
        let types = context.type_tree.read();
        for write in writes {
            let result = self.write_one(context, &mut space, &types, write);
            write.set_status(result.err().unwrap_or(StatusCode::Good));
            if result.is_ok() {
                let node = &write.value().node_id;
                context.subscriptions.maybe_notify(
                    std::iter::once((node, AttributeId::Value)),
                    |id, attribute, range, encoding| {
                        space.find(id)?.as_node().get_attribute(TimestampsToReturn::Both, attribute, range, encoding)
                    },
                );
            }
        }
    }

    fn create_items(
        &self,
        context: &RequestContext,
        space: &RwLock<AddressSpace>,
        items: &mut [&mut &mut CreateMonitoredItem],
    ) {
        let space = space.read();
        for item in items {
            let value = space.read(context, item.item_to_monitor(), 0.0, TimestampsToReturn::Both);
            let status = value.status();
            if matches!(
                status,
                StatusCode::BadNodeIdUnknown
                    | StatusCode::BadAttributeIdInvalid
                    | StatusCode::BadIndexRangeInvalid
                    | StatusCode::BadDataEncodingInvalid
                    | StatusCode::BadDataEncodingUnsupported
            ) {
                item.set_status(status);
            } else {
                item.set_initial_value(value);
                item.set_status(StatusCode::Good);
            }
        }
    }

    fn call_all(&self, calls: &mut [&mut &mut MethodCall]) {
        for call in calls {
            match self.hooks.call(call.method_id()) {
                Ok(outputs) => {
                    call.set_outputs(outputs);
                    call.set_status(StatusCode::Good);
                }
                Err(status) => call.set_status(status),
            }
        }
    }
}

// The trait is written with async_trait; these are its methods without the macro. None of them
// waits, so each answers with a future that is ready.
impl InMemoryNodeManagerImpl for SpaceImpl {
    fn init<'s, 'a, 'f>(&'s self, _space: &'a mut AddressSpace, _context: ServerContext) -> BoxFuture<'f, ()>
    where
        's: 'f,
        'a: 'f,
        Self: 'f,
    {
        Box::pin(ready(()))
    }

    fn name(&self) -> &str {
        &self.namespace.namespace_uri
    }

    fn namespaces(&self) -> Vec<NamespaceMetadata> {
        vec![self.namespace.clone()]
    }

    fn create_value_monitored_items<'s, 'c, 'a, 'i, 'j, 'k, 'f>(
        &'s self,
        context: &'c RequestContext,
        space: &'a RwLock<AddressSpace>,
        items: &'i mut [&'j mut &'k mut CreateMonitoredItem],
    ) -> BoxFuture<'f, ()>
    where
        's: 'f,
        'c: 'f,
        'a: 'f,
        'i: 'f,
        'j: 'f,
        'k: 'f,
        Self: 'f,
    {
        self.create_items(context, space, items);
        Box::pin(ready(()))
    }

    fn write<'s, 'c, 'a, 'i, 'j, 'f>(
        &'s self,
        context: &'c RequestContext,
        space: &'a RwLock<AddressSpace>,
        nodes_to_write: &'i mut [&'j mut WriteNode],
    ) -> BoxFuture<'f, Result<(), StatusCode>>
    where
        's: 'f,
        'c: 'f,
        'a: 'f,
        'i: 'f,
        'j: 'f,
        Self: 'f,
    {
        self.write_all(context, space, nodes_to_write);
        Box::pin(ready(Ok(())))
    }

    fn call<'s, 'c, 'a, 'i, 'j, 'k, 'f>(
        &'s self,
        _context: &'c RequestContext,
        _space: &'a RwLock<AddressSpace>,
        methods_to_call: &'i mut [&'j mut &'k mut MethodCall],
    ) -> BoxFuture<'f, Result<(), StatusCode>>
    where
        's: 'f,
        'c: 'f,
        'a: 'f,
        'i: 'f,
        'j: 'f,
        'k: 'f,
        Self: 'f,
    {
        self.call_all(methods_to_call);
        Box::pin(ready(Ok(())))
    }
}

/// A value without an index range, as `set_values` wants it.
pub(super) fn whole((node, value): (&NodeId, DataValue)) -> (&NodeId, Option<&NumericRange>, DataValue) {
    (node, None, value)
}
