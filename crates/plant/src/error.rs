//! Why the plant could not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why a part of the plant could not start. All of these are for a person to mend; nothing of
/// the plant is left running after one.
#[derive(Debug)]
pub enum PlantError {
    /// A port could not be opened.
    Bind {
        /// The part of the plant, e.g. `press1`.
        what: String,
        /// The address that it wanted.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The directory for the OPC UA server's certificates could not be made.
    TempDir {
        /// What the system said.
        source: io::Error,
    },
    /// The OPC UA server refused its own configuration or did not come up.
    Opcua {
        /// The part of the plant, e.g. `oven`.
        what: String,
        /// The endpoint that it wanted.
        endpoint: String,
        /// What the server said.
        detail: String,
    },
    /// The business systems cannot post to where they should.
    Feeds {
        /// What is wrong with the URL, and what would be right.
        detail: String,
    },
    /// A fleet was asked for that can't exist.
    FleetSize {
        /// What was asked for and what would be possible.
        detail: String,
    },
}

impl fmt::Display for PlantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { what, address, source } => {
                write!(f, "can't open the port of {what} at {address}: {source}")?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => write!(
                        f,
                        "; another program, perhaps another plant, has it: stop that one, or \
                         start this plant on free ports"
                    ),
                    io::ErrorKind::PermissionDenied => {
                        write!(f, "; ports below 1024 need a privilege: start the plant on free ports")
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        write!(f, "; this machine does not have that address: bind to one that it has")
                    }
                    _ => Ok(()),
                }
            }
            Self::TempDir { source } => write!(
                f,
                "can't make a temporary directory below {}: {source}; make room there or set \
                 TMPDIR to a writable directory",
                std::env::temp_dir().display()
            ),
            Self::Opcua { what, endpoint, detail } => write!(
                f,
                "the OPC UA server of {what} at {endpoint} did not start: {detail}; check that \
                 the address belongs to this machine"
            ),
            Self::Feeds { detail } => write!(f, "the business systems cannot post: {detail}"),
            Self::FleetSize { detail } => write!(f, "{detail}"),
        }
    }
}

impl std::error::Error for PlantError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::TempDir { source } => Some(source),
            Self::Opcua { .. } | Self::Feeds { .. } | Self::FleetSize { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PlantError;
    use std::io;

    #[test]
    fn a_taken_port_names_the_part_the_address_and_the_way_out() {
        let text = PlantError::Bind {
            what: "press1".to_owned(),
            address: ([127, 0, 0, 1], 5021).into(),
            source: io::Error::from(io::ErrorKind::AddrInUse),
        }
        .to_string();
        assert!(text.contains("press1 at 127.0.0.1:5021"), "{text}");
        assert!(text.contains("free ports"), "{text}");
    }
}
