//! From a session to live items: limits, namespaces, folders, descriptions, tags, subscriptions.
//!
//! Invariants
//! - P1: every call is cut to what the server takes, and every item's result is looked at.
//! - P2: one item's failure is that item's; only a failed call as a whole fails the preparation.

use crate::describe::{self, Description};
use crate::explore::explore;
use crate::items::{self, Item, Status};
use crate::limits::Limits;
use crate::naming::Names;
use crate::nodes::Namespaces;
use crate::subscribe::{Subscription, delete, subscribe};
use config::OpcuaSource;
use model::{Intake, Refused, SourceId, TagDeclaration, ValueKind};
use opcua::client::Session;
use opcua::types::{Error, StatusCode};
use std::{collections::HashMap, fmt, rc::Rc, sync::Arc};

/// What stays the same for the life of a source.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where its tags hang.
    pub(crate) path: String,
    /// What is configured.
    pub(crate) settings: OpcuaSource,
}

/// An item and the client handle under which the server reports it.
pub(crate) type Entry = (u32, Item);

/// What a preparation came to.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The subscriptions; empty where no item was accepted.
    pub(crate) subscriptions: Vec<Subscription>,
    /// The items, by client handle.
    pub(crate) entries: Vec<Entry>,
    /// Folders (by index) that could not be browsed; they are tried again.
    pub(crate) folders_failed: Vec<usize>,
    /// What else a person should know.
    pub(crate) notes: Vec<String>,
    /// The next free client handle.
    next: u32,
}

/// Why a preparation failed as a whole.
#[derive(Debug)]
pub(crate) enum PrepareError {
    /// A call failed.
    Service {
        /// What was being done.
        doing: &'static str,
        /// What the server or the connection said.
        error: Error,
    },
    /// The pass does not take the tags.
    Tags(Refused),
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrepareError::Service { doing, error } => write!(f, "{doing} failed: {error}"),
            PrepareError::Tags(refused) => write!(f, "the tags were refused: {refused}"),
        }
    }
}

/// Everything that a preparation works with.
#[derive(Clone)]
pub(crate) struct Bench {
    /// The session.
    pub(crate) session: Arc<Session>,
    /// What is configured.
    pub(crate) plan: Rc<Plan>,
    /// Where tags are declared.
    pub(crate) intake: Rc<dyn Intake>,
    /// Whose tags.
    pub(crate) source: SourceId,
    /// Operations of one call, at most, whatever the server says: learned from lost connections.
    pub(crate) cap: usize,
    /// Kinds of tags known from before, by path.
    pub(crate) kinds: Rc<HashMap<String, ValueKind>>,
}

pub(crate) fn service(doing: &'static str) -> impl Fn(Error) -> PrepareError {
    move |error| PrepareError::Service { doing, error }
}

/// Makes everything anew.
///
/// # Errors
/// [`PrepareError`]
pub(crate) async fn prepare(bench: Bench) -> Result<Prepared, PrepareError> {
    let settings = &bench.plan.settings;
    let mut names = Names::default();
    let mut prepared = Prepared::default();
    let mut items = Vec::with_capacity(settings.tags.len());
    for tag in &settings.tags {
        match names.configured(&bench.plan.path, &tag.name) {
            Ok(path) => items.push(Item {
                path,
                node: tag.node.clone(),
                id: None,
                unit: tag.unit.clone(),
                range: tag.range,
                deadband: tag.deadband,
                tag: None,
                status: Status::New,
            }),
            Err(error) => prepared.notes.push(format!("tag {}: {error}", tag.name)),
        }
    }
    let folders: Vec<usize> = (0..settings.browse.len()).collect();
    prepared.entries = (1..).zip(items).collect();
    finish(&bench, names, &folders, prepared).await
}

/// Tries again what did not work: refused items and folders that could not be browsed. `known` are
/// all entries there are; answers only those that were tried or found, and further subscriptions.
///
/// # Errors
/// [`PrepareError`]
pub(crate) async fn retry(
    bench: Bench,
    known: Vec<Entry>,
    folders: Vec<usize>,
    subscriptions: Vec<Subscription>,
) -> Result<Prepared, PrepareError> {
    let mut names = Names::default();
    for (_, item) in &known {
        names.keep(&item.path);
    }
    let next = known.iter().map(|(handle, _)| handle + 1).max().unwrap_or(1);
    let entries =
        known.into_iter().filter(|(_, item)| matches!(item.status, Status::Refused(_) | Status::New)).collect();
    let prepared = Prepared { subscriptions, entries, next, ..Prepared::default() };
    finish(&bench, names, &folders, prepared).await
}

async fn finish(
    bench: &Bench,
    mut names: Names,
    folders: &[usize],
    mut prepared: Prepared,
) -> Result<Prepared, PrepareError> {
    let limits = Limits::read(&bench.session).await.capped(bench.cap);
    let namespaces = Namespaces::read(&bench.session).await.map_err(service("reading the namespaces"))?;
    prepared.next = prepared.next.max(prepared.entries.len() as u32 + 1);
    for folder in folders {
        browse_folder(bench, &limits, &namespaces, *folder, &mut names, &mut prepared).await?;
    }
    describe_items(bench, &limits, &namespaces, &mut prepared.entries).await?;
    let before = prepared.subscriptions.len();
    if let Err(error) = subscribe(bench, &limits, &mut prepared).await {
        let made = prepared.subscriptions[before..].iter().map(|subscription| subscription.id).collect();
        delete(&bench.session, made).await;
        return Err(error);
    }
    Ok(prepared)
}

/// Adds the variables of one configured folder.
async fn browse_folder(
    bench: &Bench,
    limits: &Limits,
    namespaces: &Namespaces,
    folder: usize,
    names: &mut Names,
    prepared: &mut Prepared,
) -> Result<(), PrepareError> {
    let configured = &bench.plan.settings.browse[folder];
    let max = usize::try_from(configured.max).unwrap_or(usize::MAX);
    let explored = match namespaces.resolve(&configured.node) {
        Ok(root) => explore(&bench.session, limits, &root, max).await,
        Err(status) => Err(Error::new(status, "the folder's namespace or identifier is not known")),
    };
    let explored = match explored {
        Ok(explored) => explored,
        Err(error) if is_connection(error.status()) => return Err(service("browsing")(error)),
        Err(error) => {
            prepared.notes.push(format!(
                "folder {} ({}): {}",
                configured.name,
                configured.node,
                items::hint(error.status())
            ));
            prepared.folders_failed.push(folder);
            return Ok(());
        }
    };
    if explored.cut {
        prepared.notes.push(format!(
            "folder {}: more than {max} variables (or a walk too large); the rest is left out; raise `max`, or browse \
             a smaller folder",
            configured.name
        ));
    }
    let base = format!("{}/{}", bench.plan.path, configured.name);
    let mut unnamed = 0;
    for found in explored.found {
        let node = namespaces.name(&found.node);
        let Ok(path) = names.browsed(&base, &found.names, &node) else {
            unnamed += 1;
            continue;
        };
        let item =
            Item { path, node, id: None, unit: None, range: None, deadband: 0.0, tag: None, status: Status::New };
        prepared.entries.push((prepared.next, item));
        prepared.next += 1;
    }
    if unnamed > 0 {
        prepared
            .notes
            .push(format!("folder {}: {unnamed} variables left out, their paths are too long", configured.name));
    }
    Ok(())
}

/// Finds each item's node and kind, and declares its tag.
async fn describe_items(
    bench: &Bench,
    limits: &Limits,
    namespaces: &Namespaces,
    entries: &mut [Entry],
) -> Result<(), PrepareError> {
    let mut at = Vec::new();
    let mut nodes = Vec::new();
    for (index, (_, item)) in entries.iter_mut().enumerate() {
        match namespaces.resolve(&item.node) {
            Ok(node) => {
                at.push(index);
                nodes.push(node.clone());
                item.id = Some(node);
                item.status = Status::New;
            }
            Err(status) => item.status = Status::Refused(status),
        }
    }
    let described =
        describe::describe(&bench.session, limits, &nodes).await.map_err(service("reading what the variables are"))?;
    let mut known = HashMap::new();
    for (index, description) in at.into_iter().zip(described) {
        match description {
            Description::Tag(described) => {
                known.insert(index, described);
            }
            Description::Refused(status) => entries[index].1.status = Status::Refused(status),
            Description::Unsupported(why) => entries[index].1.status = Status::Unsupported(why),
        }
    }
    declare(bench, entries, &known)
}

/// Declares the tags of all items that can be one, those that the server refused for now included:
/// their tags are Bad, with the server's reason.
fn declare(
    bench: &Bench,
    entries: &mut [Entry],
    known: &HashMap<usize, describe::Described>,
) -> Result<(), PrepareError> {
    let mut at = Vec::new();
    let mut declarations = Vec::new();
    for (index, (_, item)) in entries.iter().enumerate() {
        if matches!(item.status, Status::Unsupported(_)) {
            continue;
        }
        let described = known.get(&index);
        let before = bench.kinds.get(item.path.as_str()).copied();
        let kind = described.map(|d| d.kind).or(before).unwrap_or(ValueKind::F64);
        let unit = item.unit.clone().or_else(|| described.map(|d| d.unit.clone())).unwrap_or_default();
        at.push(index);
        declarations.push(TagDeclaration {
            path: item.path.clone(),
            kind,
            unit,
            range: item.range.or_else(|| described.and_then(|d| d.range)),
            deadband: item.deadband,
            heartbeat_ns: 0,
        });
    }
    if declarations.is_empty() {
        return Ok(());
    }
    let ids = bench.intake.declare(bench.source, &declarations).map_err(PrepareError::Tags)?;
    for ((index, id), declaration) in at.into_iter().zip(ids).zip(declarations) {
        entries[index].1.tag = Some((id, declaration.kind));
    }
    Ok(())
}

/// Whether a status means that the connection or session is gone, rather than a refusal.
pub(crate) fn is_connection(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadConnectionClosed
            | StatusCode::BadNotConnected
            | StatusCode::BadCommunicationError
            | StatusCode::BadSecureChannelClosed
            | StatusCode::BadSecureChannelIdInvalid
            | StatusCode::BadServerNotConnected
            | StatusCode::BadTimeout
            | StatusCode::BadSessionIdInvalid
            | StatusCode::BadSessionClosed
            | StatusCode::BadSessionNotActivated
    )
}
