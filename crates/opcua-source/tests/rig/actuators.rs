//! What of the test server can be written and called.

use super::Oven;
use opcua::nodes::{MethodBuilder, VariableBuilder};
use opcua::server::address_space::{AddressSpace, NodeType};
use opcua::types::{
    Argument, DataEncoding, DataTypeId, LocalizedText, NodeId, NumericRange, QualifiedName, ReferenceTypeId,
    StatusCode, TimestampsToReturn, VariableTypeId, Variant,
};

type Called = dyn Fn(&[Variant]) -> Result<Vec<Variant>, StatusCode> + Send + Sync;

impl Oven {
    /// Adds a variable below `Zones` that can be written.
    pub fn add_writable(&self, name: &str, value: impl Into<Variant>, data_type: impl Into<NodeId>) {
        let mut space = self.manager.address_space().write();
        VariableBuilder::new(&self.node(name), QualifiedName::new(self.namespace, name), name)
            .value(value)
            .data_type(data_type)
            .has_type_definition(VariableTypeId::BaseDataVariableType)
            .writable()
            .organized_by(self.node("Zones"))
            .insert(&mut *space);
    }

    /// Adds a method to `Zones`; `lists`: whether it lists its input arguments.
    pub fn add_method(&self, name: &str, inputs: &[(&str, DataTypeId)], lists: bool, called: Box<Called>) {
        let argument = |(name, data_type): &(&str, DataTypeId)| Argument {
            name: (*name).into(),
            data_type: (*data_type).into(),
            value_rank: -1,
            array_dimensions: None,
            description: LocalizedText::default(),
        };
        let inputs: Vec<Argument> = inputs.iter().map(argument).collect();
        let mut space = self.manager.address_space().write();
        let method = MethodBuilder::new(&self.node(name), QualifiedName::new(self.namespace, name), name)
            .component_of(self.node("Zones"))
            .executable(true)
            .user_executable(true);
        let listed = self.node(&format!("{name}.InputArguments"));
        let method = if lists { method.input_args(&mut *space, &listed, &inputs) } else { method };
        method.insert(&mut *space);
        drop(space);
        self.manager.inner().add_method_callback(self.node(name), called);
    }

    /// What a variable holds, as the server has it.
    pub fn holds(&self, name: &str) -> Option<Variant> {
        let space = self.manager.address_space().read();
        let node: &NodeType = find(&space, &self.node(name))?;
        let NodeType::Variable(variable) = node else { return None };
        let value = variable.value(TimestampsToReturn::Neither, &NumericRange::None, &DataEncoding::Binary, 0.0);
        value.value
    }

    /// Adds a data type of the test's own below a standard one.
    pub fn add_data_type(&self, name: &str, base: DataTypeId) {
        let mut space = self.manager.address_space().write();
        opcua::nodes::DataTypeBuilder::new(&self.node(name), name, name)
            .reference(base, ReferenceTypeId::HasSubtype, opcua::nodes::ReferenceDirection::Inverse)
            .insert(&mut *space);
    }
}

fn find<'s>(space: &'s AddressSpace, node: &NodeId) -> Option<&'s NodeType> {
    space.find(node)
}
