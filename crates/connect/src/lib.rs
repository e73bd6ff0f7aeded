//! Targets: HTTP, MQTT 5, NATS JetStream, folders and object stores.
