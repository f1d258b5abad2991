//! Payloads built field by field from the manual's "Logical Replication Message Formats".

mod layouts;
mod random;
mod recorded;

/// A payload under construction.
pub struct Payload(pub Vec<u8>);

impl Payload {
    pub fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn string(mut self, value: &str) -> Self {
        self.0.extend(value.as_bytes());
        self.u8(0)
    }

    pub fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend(value);
        self
    }

    /// A tuple; `Some("?")` stands for an unchanged TOASTed value.
    pub fn tuple(mut self, kind: u8, values: &[Option<&str>]) -> Self {
        self = self.u8(kind).u16(values.len().try_into().unwrap());
        for value in values {
            self = match value {
                None => self.u8(b'n'),
                Some("?") => self.u8(b'u'),
                Some(text) => self.u8(b't').u32(text.len().try_into().unwrap()).bytes(text.as_bytes()),
            };
        }
        self
    }
}

/// One payload of every kind.
pub fn one_of_each() -> Vec<Payload> {
    let prepared = |payload: Payload| payload.u64(1).u64(2).u64(3).u32(4).string("gid");
    vec![
        Payload::new(b'B').u64(0x10).u64(1_000_000).u32(7),
        Payload::new(b'C').u8(0).u64(0x10).u64(0x20).u64(1_000_000),
        Payload::new(b'O').u64(0x30).string("origin"),
        Payload::new(b'R').u32(9).string("public").string("t").u8(b'd').u16(1).u8(1).string("id").u32(23).u32(u32::MAX),
        Payload::new(b'Y').u32(5).string("").string("mood"),
        Payload::new(b'I').u32(9).tuple(b'N', &[Some("1"), None]),
        Payload::new(b'U').u32(9).tuple(b'K', &[Some("1"), None]).tuple(b'N', &[Some("2"), Some("?")]),
        Payload::new(b'D').u32(9).tuple(b'O', &[Some("1"), Some("x")]),
        Payload::new(b'T').u32(2).u8(3).u32(9).u32(10),
        Payload::new(b'M').u8(1).u64(0x40).string("prefix").u32(2).bytes(b"hi"),
        Payload::new(b'S').u32(7).u8(1),
        Payload::new(b'E'),
        Payload::new(b'c').u32(7).u8(0).u64(0x10).u64(0x20).u64(0),
        Payload::new(b'A').u32(7).u32(8),
        prepared(Payload::new(b'b')),
        prepared(Payload::new(b'P').u8(0)),
        prepared(Payload::new(b'K').u8(0)),
        prepared(Payload::new(b'p').u8(0)),
        Payload::new(b'r').u8(0).u64(1).u64(2).u64(3).u64(4).u32(5).string("gid"),
    ]
}
