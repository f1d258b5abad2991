//! Every message kind, read from a payload laid out as the manual says.

use model::{cell::Cell, lsn::Lsn};
use pgoutput::{
    Commit, Decoder, Message, ParseError, Relation, RelationColumn, Relations, ReplicaIdentity, Tuple, TupleKind, parse,
};

use super::{Payload, one_of_each};

/// 2000-01-01 plus one second.
const ONE_SECOND_US: i64 = 946_684_801_000_000;

fn cells<'a>(tuple: &Tuple<'a>) -> Vec<Cell<'a>> {
    tuple.cells().collect()
}

#[test]
fn every_kind_of_message_is_read() {
    let kinds: Vec<String> = one_of_each()
        .iter()
        .map(|payload| format!("{:?}", parse(&payload.0).unwrap()).split(['(', ' ']).next().unwrap().to_owned())
        .collect();
    let expected = [
        "Begin",
        "Commit",
        "Origin",
        "Relation",
        "Type",
        "Insert",
        "Update",
        "Delete",
        "Truncate",
        "Message",
        "StreamStart",
        "StreamStop",
        "StreamCommit",
        "StreamAbort",
        "BeginPrepare",
        "Prepare",
        "CommitPrepared",
        "StreamPrepare",
        "RollbackPrepared",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_transaction_begins_and_ends_with_its_positions_and_unix_time() {
    let begin = Payload::new(b'B').u64(0x10).u64(1_000_000).u32(7);
    let Message::Begin(begin) = parse(&begin.0).unwrap() else { panic!() };
    assert_eq!((begin.final_lsn, begin.commit_time_us, begin.xid), (Lsn(0x10), ONE_SECOND_US, 7));
    let commit = Payload::new(b'C').u8(0).u64(0x10).u64(0x20).u64(1_000_000);
    let expected = Commit { commit_lsn: Lsn(0x10), end_lsn: Lsn(0x20), commit_time_us: ONE_SECOND_US };
    assert_eq!(parse(&commit.0).unwrap(), Message::Commit(expected));
}

#[test]
fn an_update_tells_key_and_whole_old_row_apart() {
    let plain = Payload::new(b'U').u32(9).tuple(b'N', &[Some("2"), Some("?"), None]);
    let Message::Update(update) = parse(&plain.0).unwrap() else { panic!() };
    assert_eq!(update.old, None);
    assert_eq!(cells(&update.new), [Cell::Text(b"2"), Cell::Unchanged, Cell::Null]);
    for (letter, kind) in [(b'K', TupleKind::Key), (b'O', TupleKind::Old)] {
        let payload = Payload::new(b'U').u32(9).tuple(letter, &[Some("1"), None]).tuple(b'N', &[Some("2"), Some("")]);
        let Message::Update(update) = parse(&payload.0).unwrap() else { panic!() };
        let old = update.old.unwrap();
        assert_eq!((old.kind(), cells(&old)), (kind, vec![Cell::Text(b"1"), Cell::Null]));
        assert_eq!((update.new.kind(), cells(&update.new)), (TupleKind::New, vec![Cell::Text(b"2"), Cell::Text(b"")]));
    }
}

#[test]
fn a_relation_is_kept_until_the_server_says_something_new() {
    let payload = |name: &str| {
        Payload::new(b'R').u32(9).string("public").string("t").u8(b'f').u16(1).u8(1).string(name).u32(1700).u32(655_366)
    };
    let first = payload("id");
    let Message::Relation(relation) = parse(&first.0).unwrap() else { panic!() };
    let expected = Relation {
        id: 9,
        namespace: "public".into(),
        name: "t".into(),
        replica_identity: ReplicaIdentity::Full,
        columns: vec![RelationColumn { key: true, name: "id".into(), type_oid: 1700, typmod: 655_366 }],
    };
    assert_eq!(relation, expected);
    let mut relations = Relations::default();
    assert!(relations.update(relation.clone()));
    assert!(!relations.update(relation));
    let Message::Relation(renamed) = parse(&payload("key").0).unwrap() else { panic!() };
    assert!(relations.update(renamed));
    assert_eq!(relations.get(9).unwrap().columns[0].name, "key");
    assert!(relations.get(10).is_none());
}

#[test]
fn a_truncate_names_all_its_tables() {
    let payload = Payload::new(b'T').u32(2).u8(3).u32(9).u32(10);
    let Message::Truncate(truncate) = parse(&payload.0).unwrap() else { panic!() };
    assert!(truncate.cascade && truncate.restart_identity);
    assert_eq!(truncate.relation_ids().collect::<Vec<_>>(), [9, 10]);
}

#[test]
fn messages_of_a_streamed_block_carry_their_transaction() {
    let mut decoder = Decoder::default();
    let outside = Payload::new(b'I').u32(9).tuple(b'N', &[Some("1")]);
    let inside = Payload::new(b'I').u32(77).u32(9).tuple(b'N', &[Some("1")]);
    assert_eq!(decoder.message(&outside.0).unwrap().xid, None);
    decoder.message(&Payload::new(b'S').u32(7).u8(1).0).unwrap();
    let streamed = decoder.message(&inside.0).unwrap();
    assert_eq!(streamed.xid, Some(77));
    assert_eq!(streamed.message, parse(&outside.0).unwrap());
    decoder.message(&Payload::new(b'E').0).unwrap();
    assert_eq!(decoder.message(&outside.0).unwrap().xid, None);
}

#[test]
fn an_abort_has_a_position_in_version_4_only() {
    let payload = Payload::new(b'A').u32(7).u32(8);
    let Message::StreamAbort(abort) = parse(&payload.0).unwrap() else { panic!() };
    assert_eq!(abort.aborted, None);
    let payload = payload.u64(0x50).u64(1_000_000);
    let Message::StreamAbort(abort) = parse(&payload.0).unwrap() else { panic!() };
    assert_eq!(abort.aborted, Some((Lsn(0x50), ONE_SECOND_US)));
}

#[test]
fn what_the_protocol_does_not_allow_is_named() {
    for (payload, expected) in [
        (Payload(Vec::new()), ParseError::Empty),
        (Payload::new(b'?'), ParseError::UnknownMessage(b'?')),
        (Payload::new(b'E').u8(0), ParseError::TrailingBytes(1)),
        (Payload::new(b'I').u32(9).tuple(b'K', &[]), ParseError::UnexpectedTuple(b'K')),
        (Payload::new(b'I').u32(9).u8(b'N').u16(1).u8(b'b'), ParseError::BinaryValue),
        (Payload::new(b'I').u32(9).u8(b'N').u16(1).u8(b'x'), ParseError::UnknownValue(b'x')),
        (Payload::new(b'O').u64(1).bytes(b"\xff\0"), ParseError::NotUtf8("origin name")),
        (Payload::new(b'T').u32(u32::MAX).u8(0), ParseError::CutOff("relation ids")),
    ] {
        assert_eq!(parse(&payload.0), Err(expected));
    }
}
