//! The commands, each a few lines over the crate that does the work.

use crate::report;
use crate::server::{self, IoChoice};
use config::{Config, SourceKind};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Variables that `browse` lists at most.
const BROWSE_MAX: usize = 10_000;

/// How a command ended badly: the exit code (1: it failed, 2: wrong usage or configuration) and
/// what to say.
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// For a person; empty where everything was said already.
    pub message: String,
}

/// It failed.
pub fn failed(message: impl Into<String>) -> Failure {
    Failure { code: 1, message: message.into() }
}

/// The user asked for something that cannot be.
pub fn wrong(message: impl Into<String>) -> Failure {
    Failure { code: 2, message: message.into() }
}

/// What a command answers.
pub type Outcome = Result<(), Failure>;

fn read(file: &Path) -> Result<String, Failure> {
    let length = fs::metadata(file).map_err(|error| wrong(format!("cannot read {}: {error}", file.display())))?.len();
    if length > config::FILE_BYTES_MAX as u64 {
        return Err(wrong(format!(
            "{} has {length} bytes; a configuration may have {}",
            file.display(),
            config::FILE_BYTES_MAX
        )));
    }
    fs::read_to_string(file).map_err(|error| wrong(format!("cannot read {}: {error}", file.display())))
}

fn load(file: &Path) -> Result<Config, Failure> {
    let text = read(file)?;
    config::parse(&text).map_err(|problems| {
        eprint!("{}", config::render(&problems, &file.display().to_string(), &text));
        wrong(format!("{} has {}; nothing was started", file.display(), count(problems.len(), "problem")))
    })
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `millstream run FILE`
pub fn run(file: &Path, io: IoChoice) -> Outcome {
    let config = load(file)?;
    let server = server::start(config, io, None).map_err(failed)?;
    server.announce();
    server.run_until_signal().map_err(failed)
}

/// `millstream check FILE`
pub fn check(file: &Path, json: bool) -> Outcome {
    let text = read(file)?;
    let (problems, inactive) = match config::parse(&text) {
        Ok(config) => (Vec::new(), config.inactive()),
        Err(problems) => (problems, Vec::new()),
    };
    if json {
        let listed: Vec<_> = problems
            .iter()
            .map(
                |p| serde_json::json!({"line": p.line, "column": p.column, "key": p.key, "what": p.what, "fix": p.fix}),
            )
            .collect();
        let file = file.display().to_string();
        println!("{}", serde_json::json!({"file": file, "problems": listed, "inactive": inactive}));
    } else if !problems.is_empty() {
        eprint!("{}", config::render(&problems, &file.display().to_string(), &text));
        eprintln!("{}", count(problems.len(), "problem"));
    } else {
        inactive.iter().for_each(|sentence| println!("{sentence}"));
    }
    if problems.is_empty() { Ok(()) } else { Err(wrong("")) }
}

/// `millstream init [FILE]`
pub fn init(file: &Path) -> Outcome {
    let mut open = fs::OpenOptions::new();
    let made = open.write(true).create_new(true).open(file);
    let mut made = made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            wrong(format!("{} is there already and stays as it is; give another name", file.display()))
        }
        _ => failed(format!("cannot create {}: {error}", file.display())),
    })?;
    made.write_all(config::init().as_bytes())
        .map_err(|error| failed(format!("cannot write {}: {error}", file.display())))?;
    println!("wrote {}; change it, then: millstream check {0} && millstream run {0}", file.display());
    Ok(())
}

/// `millstream schema`
pub fn schema() -> Outcome {
    let text = serde_json::to_string_pretty(&config::schema()).map_err(|error| failed(error.to_string()))?;
    print_whole(&(text + "\n"))
}

/// Prints, and takes a reader that has seen enough (`| head`) for what it is.
fn print_whole(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(failed(error.to_string())),
        _ => Ok(()),
    }
}

/// `millstream plant`
pub fn plant(seed: u64) -> Outcome {
    let runtime = crate::server::small_runtime().map_err(failed)?;
    runtime.block_on(async {
        let options = plant::PlantOptions { seed, ports: plant::Ports::Fixed, ..plant::PlantOptions::default() };
        let plant = plant::Plant::start(options).await.map_err(|error| failed(error.to_string()))?;
        let at = plant.addresses();
        println!("the plant runs; its configuration is docs/examples/plant.toml");
        println!("  presses   {}", at.presses.map(|press| format!("tcp://{press}")).join("  "));
        println!("  meters    tcp://{}", at.meters);
        println!("  oven      {}", at.oven);
        println!("  business  ERP {}  WMS {}  MES {}  CMMS {}  portal {}", at.erp, at.wms, at.mes, at.cmms, at.portal);
        println!("  switches  http://{}/", at.switches);
        println!("Ctrl-C stops it");
        crate::server::signalled().await;
        plant.stop().await;
        Ok(())
    })
}

/// The logs under a directory: itself, or the shards and the journal of a data directory.
fn logs_under(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| wrong(format!("cannot read {}: {error}", dir.display()));
    let mut shards = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if (name.starts_with("shard-") || name == "journal") && entry.path().is_dir() {
            shards.push(entry.path());
        } else if name.ends_with(".seg") {
            return Ok(vec![dir.to_path_buf()]);
        }
    }
    shards.sort();
    if shards.is_empty() {
        return Err(wrong(format!(
            "{} holds no log: neither *.seg files nor shard-* directories nor a journal",
            dir.display()
        )));
    }
    Ok(shards)
}

/// `millstream log verify DIR`
pub fn log_verify(dir: &Path, json: bool) -> Outcome {
    let mut sound = true;
    let mut reports = Vec::new();
    for shard in logs_under(dir)? {
        let storage = uring::disk::DirectoryStorage::new(&shard);
        let report = log::verify(&storage, None).map_err(|error| failed(format!("{}: {error}", shard.display())))?;
        sound &= report.is_sound();
        if json {
            reports.push(report::verify_json(&shard.display().to_string(), &report));
        } else {
            println!("{}: {}", shard.display(), report::verify_text(&report));
        }
    }
    if json {
        println!("{}", serde_json::Value::Array(reports));
    }
    if sound { Ok(()) } else { Err(failed("damage was found; what is whole is still served")) }
}

/// `millstream log dump DIR`
pub fn log_dump(dir: &Path) -> Outcome {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for shard in logs_under(dir)? {
        let dumped = log::dump(&uring::disk::DirectoryStorage::new(&shard), &mut out);
        match dumped.and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(failed(format!("{}: {error}", shard.display()))),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// `millstream browse ENDPOINT`
pub fn browse(endpoint: &str) -> Outcome {
    let runtime = crate::server::small_runtime().map_err(failed)?;
    let within = Duration::from_secs(3);
    if endpoint.starts_with("opc.tcp://") {
        let security = "None".parse().map_err(|error: config::Invalid| failed(error.what))?;
        let pki = std::env::temp_dir().join(format!("millstream-browse-{}", std::process::id()));
        let (address, max) = (endpoint.to_owned(), BROWSE_MAX);
        let request = opcua_source::BrowseRequest {
            address,
            security,
            user: None,
            pki: pki.clone(),
            timeout: within,
            below: None,
            max,
        };
        let report = runtime.block_on(opcua_source::browse(&request));
        let _ = fs::remove_dir_all(&pki);
        let report = report.map_err(|error| failed(error.to_string()))?;
        return print_whole(&report::browse_text(&report));
    }
    let address = endpoint.parse().map_err(|error: config::Invalid| {
        wrong(format!("{endpoint}: {}; {}. An OPC UA server begins with opc.tcp://", error.what, error.fix))
    })?;
    let report = runtime.block_on(modbus::probe(&address, within));
    print_whole(&format!("{report}\n"))
}

/// The protocol of a source, in one word.
pub fn kind_word(kind: &SourceKind) -> &'static str {
    match kind {
        SourceKind::Modbus(_) => "modbus",
        SourceKind::Opcua(_) => "opcua",
        SourceKind::Native(_) => "native",
    }
}
