//! The simulated plant within the test: its own thread, real sockets, and the switches that break it.

use ::plant::{Addresses, Plant, PlantOptions};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The tags of a press as docs/examples/plant.toml has them, without the deadband.
const PRESS_TAGS: [(&str, &str, &str); 6] = [
    ("temperature", "holding:0", "type = \"f32\"\norder = \"ABCD\""),
    ("pressure", "input:10", "type = \"i16\"\nscale = 0.1"),
    ("vibration", "holding:2", "type = \"f32\"\norder = \"CDAB\""),
    ("cycles", "holding:20", "type = \"u32\"\norder = \"CDAB\""),
    ("running", "coil:0", "type = \"bool\""),
    ("fault", "holding:30.3", "type = \"bool\""),
];

/// A running plant; it ends with this value.
pub struct Site {
    /// Where its parts are.
    pub at: Addresses,
    /// Name of its thread, one of this process alone.
    pub thread_name: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    /// Starts a plant on free ports whose presses have no faults of their own.
    pub fn start() -> Site {
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let plant = Plant::start(PlantOptions::default()).await.expect("the plant starts");
                ready.send(plant.addresses().clone()).expect("the test waits");
                let _ = stopped.await;
                plant.stop().await;
            });
        };
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // fifteen bytes are what the kernel keeps
        let thread_name = format!("plant-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let thread = std::thread::Builder::new().name(thread_name.clone()).spawn(body).expect("a thread");
        let at = started.recv().expect("the plant's addresses");
        let site = Site { at, thread_name, stop: Some(stop), thread: Some(thread) };
        site.switch("spontaneous", "off");
        site
    }

    /// Sets a part's mode, e.g. `press/1` to `silent`; in force when this returns.
    pub fn switch(&self, part: &str, mode: &str) {
        let url = format!("http://{}/{part}", self.at.switches);
        let answer = ureq::post(&url).send_json(json!({ "mode": mode }));
        answer.unwrap_or_else(|error| panic!("{part} does not become {mode}: {error}"));
    }

    /// A source for press `number` (from 1) with these lines beside its address and tags.
    pub fn press(&self, number: usize, timing: &str) -> String {
        let mut text = format!(
            "[[source]]\nname = \"press{number}\"\nkind = \"modbus\"\naddress = \"tcp://{}\"\nunit_id = 1\n\
             path = \"site/press{number}\"\n{timing}\n",
            self.at.presses[number - 1]
        );
        for (name, at, rest) in PRESS_TAGS {
            text += &format!("\n[[source.tag]]\nname = \"{name}\"\nat = \"{at}\"\n{rest}\n");
        }
        text + "\n"
    }

    /// A source for the eight meters behind their gateway.
    pub fn meters(&self, timing: &str) -> String {
        let units: Vec<String> = (1..=8).map(|unit| format!("{unit} = \"meter{unit}\"")).collect();
        format!(
            "[[source]]\nname = \"meters\"\nkind = \"modbus\"\naddress = \"tcp://{}\"\npath = \"site/energy\"\n\
             units = {{ {} }}\n{timing}\n\n[[source.tag]]\nname = \"energy\"\nat = \"input:0\"\ntype = \"f64\"\n\n\
             [[source.tag]]\nname = \"power\"\nat = \"input:4\"\ntype = \"f32\"\n\n",
            self.at.meters,
            units.join(", ")
        )
    }

    /// A source for the oven: its zones by browsing, its state and its set point by name.
    pub fn oven(&self, timing: &str) -> String {
        let node = |name: &str| format!("node = \"nsu=urn:riverside:oven;s={name}\"");
        format!(
            "[[source]]\nname = \"oven\"\nkind = \"opcua\"\naddress = \"{}\"\nsecurity = \"None\"\n\
             path = \"site/oven\"\n{timing}\n\n[[source.tag]]\nname = \"state\"\n{}\n\n[[source.tag]]\n\
             name = \"setpoint\"\n{}\n\n[[source.browse]]\n{}\nname = \"zones\"\n\n",
            self.at.oven,
            node("State"),
            node("SetPoint"),
            node("Zones")
        )
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
