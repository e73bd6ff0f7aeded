//! Targets, made from the configuration.

use super::secrets;
use config::{Conflict, HttpAuth, Target as Told, TargetKind};
use connect::{
    Auth, Blocking, FolderSettings, FolderTarget, HttpSettings, HttpTarget, Identity, MqttSettings, MqttTarget,
    NatsAuth, NatsSettings, NatsTarget, OAuth2, SecretText, StoreSettings, StoreTarget, Target, Tls,
};
use flows::spec::Rendered;
use shard::ShardContext;
use std::rc::Rc;

/// A flow's target.
pub struct FlowTarget {
    /// Where its calls go.
    pub target: Box<dyn Target>,
    /// What status 409 means there.
    pub conflict: connect::Conflict,
    names_files: bool,
}

impl FlowTarget {
    /// Where a call goes: its address, or the name of its file or object.
    pub fn address(&self, call: &Rendered) -> String {
        if self.names_files { file_name(call) } else { call.address.clone() }
    }
}

/// A name that is the same on every try: a batch's document has its own, anything else one made
/// from the message and its idempotency key.
fn file_name(call: &Rendered) -> String {
    if let Some(name) = &call.file_name {
        return name.clone();
    }
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let mut name: String = call.message.chars().map(safe).take(120).collect();
    name = name.trim_matches(['.', '-']).to_owned();
    let key: String = call.idempotency_key.chars().take(12).collect();
    let ending = match call.content_type.split(';').next().unwrap_or_default() {
        "text/csv" => "csv",
        "application/gzip" => "gz",
        "text/plain" => "txt",
        _ => "json",
    };
    format!("{name}-{key}.{ending}")
}

struct Helper(ShardContext);

impl Blocking for Helper {
    fn run(&self, job: Box<dyn FnOnce() + Send>) -> bool {
        self.0.helper().run(job).is_ok()
    }
}

/// The targets of all flows, in the order of the desk.
///
/// # Errors
/// A sentence: a secret or certificate cannot be read, or an address not be used.
pub fn all(config: &config::Config, context: &ShardContext) -> Result<Vec<Rc<FlowTarget>>, String> {
    let subscribers = config.subscribers.iter().map(|one| (&one.name, &one.to));
    let syncs = config.syncs.iter().map(|one| (&one.name, &one.to));
    let active = config.batches.iter().filter(|one| one.format != config::BatchFormat::Parquet);
    let batches = active.map(|one| (&one.name, &one.to));
    subscribers
        .chain(syncs)
        .chain(batches)
        .map(|(name, to)| one(name, to, context).map(Rc::new).map_err(|error| format!("the target of {name}: {error}")))
        .collect()
}

/// One target.
///
/// # Errors
/// A sentence.
pub fn one(flow: &str, to: &Told, context: &ShardContext) -> Result<FlowTarget, String> {
    let setup = |error: connect::CallError| error.to_string();
    let mut conflict = connect::Conflict::Rejected;
    let mut names_files = false;
    let target: Box<dyn Target> = match &to.kind {
        TargetKind::Http(told) => {
            if told.conflict == Conflict::Done {
                conflict = connect::Conflict::Done;
            }
            Box::new(HttpTarget::new(http(told, to.concurrency)?).map_err(setup)?)
        }
        TargetKind::Nats(told) => {
            let mut settings = NatsSettings::new(&told.url);
            settings.auth = match (&told.user, &told.token) {
                (Some(user), Some(token)) => NatsAuth::User { user: user.clone(), password: secrets::read(token)? },
                (None, Some(token)) => NatsAuth::Token(secrets::read(token)?),
                _ => NatsAuth::None,
            };
            settings.stream.clone_from(&told.stream);
            Box::new(NatsTarget::new(settings).map_err(setup)?)
        }
        TargetKind::Mqtt(told) => {
            let id = told.client_id.clone().unwrap_or_else(|| format!("millstream-{flow}"));
            let mut settings = MqttSettings::new(&told.url, id);
            settings.user.clone_from(&told.user);
            settings.password = told.token.as_ref().map(secrets::read).transpose()?;
            settings.tls.ca_pem = told.ca.as_deref().map(secrets::pem).transpose()?;
            Box::new(MqttTarget::new(settings).map_err(setup)?)
        }
        TargetKind::S3(told) => {
            names_files = true;
            let mut settings = StoreSettings::new(&told.bucket, &told.access_key, secrets::read(&told.secret_key)?);
            settings.endpoint = Some(told.endpoint.clone());
            settings.prefix.clone_from(&told.prefix);
            settings.region.clone_from(&told.region);
            Box::new(StoreTarget::new(settings).map_err(setup)?)
        }
        TargetKind::Folder(path) => {
            names_files = true;
            Box::new(FolderTarget::new(FolderSettings::new(path), Rc::new(Helper(context.clone()))))
        }
    };
    Ok(FlowTarget { target, conflict, names_files })
}

/// Settings of an HTTP target.
///
/// # Errors
/// A sentence: a secret or certificate cannot be read.
pub fn http(told: &config::HttpTarget, concurrency: u32) -> Result<HttpSettings, String> {
    let mut settings = HttpSettings::new(&told.url);
    settings.tls = tls(told)?;
    settings.headers =
        told.headers.iter().map(|(name, value)| (name.clone(), SecretText::new(value.clone()))).collect();
    settings.idle_connections = concurrency as usize;
    settings.pause = shard::pause;
    settings.auth = match &told.auth {
        HttpAuth::None => Auth::None,
        HttpAuth::Bearer(token) => Auth::Bearer(secrets::read(token)?),
        HttpAuth::Basic { user, password } => Auth::Basic { user: user.clone(), password: secrets::read(password)? },
        HttpAuth::OAuth2(oauth) => Auth::OAuth2(OAuth2 {
            token_url: oauth.token_url.clone(),
            client_id: oauth.client_id.clone(),
            client_secret: secrets::read(&oauth.client_secret)?,
            scope: oauth.scope.clone(),
            audience: None,
            in_body: false,
            tls: tls(told)?,
        }),
    };
    if let Some(hmac) = &told.hmac {
        settings.signing_header.clone_from(&hmac.header);
    }
    settings.signing_key = told.hmac.as_ref().map(|hmac| secrets::read(&hmac.secret)).transpose()?;
    Ok(settings)
}

fn tls(told: &config::HttpTarget) -> Result<Tls, String> {
    let identity = told.client.as_ref().map(|client| {
        let key = config::Secret::File(client.key.clone());
        let key_pem: SecretText = secrets::read(&key)?;
        Ok::<_, String>(Identity { certificate_pem: secrets::pem(&client.cert)?, key_pem })
    });
    Ok(Tls { ca_pem: told.ca.as_deref().map(secrets::pem).transpose()?, identity: identity.transpose()? })
}
