//! Rules over tags and alarms in the states of ISA-18.2 and OPC 10000-9, as pure state machines.
