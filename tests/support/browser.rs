//! Chromium without a window, told what to do over the pipe of its DevTools protocol.
//!
//! Not by `--dump-dom` with virtual time: virtual time stands still while a request is under way,
//! and the dashboard's event stream is one that never ends.

use super::{Guard, PATIENCE};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// Debian's Chromium.
pub const CHROMIUM: &str = "/usr/bin/chromium";

/// A browser with one page; it ends with this value.
pub struct Browser {
    input: File,
    answers: Receiver<Value>,
    next: u64,
    session: Option<String>,
    _process: Guard,
    _folder: tempfile::TempDir,
}

impl Browser {
    /// Starts Chromium with a profile of its own on an address.
    pub fn open(url: &str) -> Browser {
        let folder = tempfile::tempdir().expect("a folder");
        let pipes = ["in", "out"].map(|name| folder.path().join(name));
        let made = Command::new("mkfifo").args(&pipes).status().expect("mkfifo runs");
        assert!(made.success());
        let switches = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage \
                        --disable-background-networking --disable-component-update --disable-sync \
                        --window-size=1400,900 --remote-debugging-pipe";
        // the protocol's ends are the files 3 (in) and 4 (out), which only a shell opens by number
        let script =
            format!("exec {CHROMIUM} {switches} --user-data-dir=\"$1/profile\" \"$2\" 3<\"$1/in\" 4>\"$1/out\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(folder.path()).arg(url);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Guard(command.spawn().expect("Chromium starts"));
        // open for both, so that neither side waits for the other to open
        let [input, output] = pipes.map(|pipe| OpenOptions::new().read(true).write(true).open(pipe).expect("a pipe"));
        let (say, answers) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let parsed = serde_json::from_slice(&message).unwrap_or(Value::Null);
                if say.send(parsed).is_err() {
                    return;
                }
            }
        });
        let mut browser = Browser { input, answers, next: 0, session: None, _process: process, _folder: folder };
        let target = super::wait_for("Chromium has its page", || {
            let targets = browser.call("Target.getTargets", json!({})).ok()?;
            let all = targets["targetInfos"].as_array()?;
            all.iter().find(|target| target["type"] == "page").map(|target| target["targetId"].clone())
        });
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        let attached = attached.expect("attached");
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    /// Calls a method of the protocol; answers its result, or what Chromium has against it.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).expect("Chromium reads");
        loop {
            let answer =
                self.answers.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("Chromium does not answer {method}"));
            if answer["id"] == self.next {
                return if answer["error"].is_null() {
                    Ok(answer["result"].clone())
                } else {
                    Err(answer["error"].clone())
                };
            }
        }
    }

    /// The value of an expression in the page; null while there is no page yet.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        answer.map_or(Value::Null, |answer| answer["result"]["value"].clone())
    }

    /// The page as it stands now, as HTML.
    pub fn page(&mut self) -> String {
        self.evaluate("document.documentElement.outerHTML").as_str().unwrap_or_default().to_owned()
    }

    /// A picture of the page: PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" })).expect("a picture");
        base64(answer["data"].as_str().expect("a picture"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // its helpers go with it when it closes by itself; the guard's kill is for one that hangs
        let close = json!({ "id": self.next + 1, "method": "Browser.close" }).to_string() + "\0";
        if self.input.write_all(close.as_bytes()).is_ok() {
            for _ in 0..100 {
                if !matches!(self._process.0.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
    }
}

/// Decodes RFC 4648 base64; what is no digit of it (padding) is left out.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        bits = bits << 6 | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
