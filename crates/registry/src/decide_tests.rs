//! Cases of the decisions: every request against states that it can meet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

const INT: &str = r#""int""#;
const LONG: &str = r#""long""#;
const STRING: &str = r#""string""#;

fn posted(text: &str) -> Posted {
    Posted::check(&json!({ "schema": text }), false).unwrap()
}

/// Decides and applies, as leader and follower do together.
fn carry_out(state: &mut State, decision: Result<Decision, Refusal>) -> Result<Value, u32> {
    let decision = decision.map_err(|refusal| refusal.code)?;
    for entry in decision.entries {
        // Through the bytes, as it really goes.
        let read = crate::journal::parse(Some(&entry.key()), entry.value().as_deref()).unwrap().unwrap();
        assert_eq!(read, entry);
        state.apply(read);
    }
    Ok(decision.answer)
}

fn add(state: &mut State, subject: &str, text: &str) -> Result<Value, u32> {
    let decision = register(state, subject, &posted(text));
    carry_out(state, decision)
}

#[test]
fn the_same_schema_has_one_id_in_all_subjects_and_is_written_once_per_subject() {
    let mut state = State::default();
    assert_eq!(add(&mut state, "a", INT), Ok(json!({"id": 1})));
    assert_eq!(add(&mut state, "b", STRING), Ok(json!({"id": 2})));
    assert_eq!(add(&mut state, "b", INT), Err(409));
    assert_eq!(add(&mut state, "c", INT), Ok(json!({"id": 1})));
    assert_eq!(add(&mut state, "c", r#" {"type" : "int"} "#), Ok(json!({"id": 1})));
    assert!(register(&state, "a", &posted(INT)).unwrap().entries.is_empty());
    assert_eq!(state.uses(1, Visible::Live).collect::<Vec<_>>(), [("a", 1), ("c", 1)]);
}

#[test]
fn an_id_is_never_given_again_even_when_its_schema_is_deleted_for_good() {
    let mut state = State::default();
    add(&mut state, "a", INT).unwrap();
    add(&mut state, "b", STRING).unwrap();
    for permanent in [false, true] {
        let decision = delete_subject(&state, "b", permanent);
        assert_eq!(carry_out(&mut state, decision), Ok(json!([1])));
    }
    assert!(state.schema(2).is_none());
    // What is left after compaction: the tombstones are gone, the NOOP record stays.
    let mut compacted = State::default();
    compacted.apply(Entry::Noop { id_max: Some(state.id_max()) });
    assert_eq!(add(&mut compacted, "b", LONG), Ok(json!({"id": 3})));
}

#[test]
fn deleting_goes_softly_first_and_then_for_good() {
    let mut state = State::default();
    for text in [INT, LONG] {
        add(&mut state, "a", text).unwrap();
    }
    let one = VersionId::Number(1);
    assert_eq!(delete_version(&state, "a", one, true).unwrap_err().code, 40407);
    let decision = delete_version(&state, "a", one, false);
    assert_eq!(carry_out(&mut state, decision), Ok(json!(1)));
    assert_eq!(delete_version(&state, "a", one, false).unwrap_err().code, 40406);
    assert_eq!(state.version("a", one, Visible::Live).unwrap_err().code, 40402);
    assert_eq!(state.version("a", one, Visible::All).unwrap().1.id, 1);
    assert!(state.schema(1).is_some(), "old records still need it");
    assert_eq!(delete_subject(&state, "a", true).unwrap_err().code, 40405);
    let decision = delete_subject(&state, "a", false);
    assert_eq!(carry_out(&mut state, decision), Ok(json!([2])));
    assert_eq!(delete_subject(&state, "a", false).unwrap_err().code, 40404);
    assert_eq!(state.subjects(Visible::Live).count(), 0);
    assert_eq!(state.subjects(Visible::DeletedOnly).collect::<Vec<_>>(), ["a"]);
    let decision = delete_subject(&state, "a", true);
    assert_eq!(carry_out(&mut state, decision), Ok(json!([1, 2])));
    assert_eq!(delete_subject(&state, "a", false).unwrap_err().code, 40401);
}

#[test]
fn a_schema_registered_again_after_a_soft_delete_is_a_new_version_with_its_old_id() {
    let mut state = State::default();
    add(&mut state, "a", INT).unwrap();
    let decision = delete_subject(&state, "a", false);
    carry_out(&mut state, decision).unwrap();
    assert_eq!(add(&mut state, "a", INT), Ok(json!({"id": 1})));
    assert_eq!(state.version("a", VersionId::Latest, Visible::Live).unwrap().0, 2);
}

#[test]
fn the_level_in_force_decides_what_may_follow() {
    for (level, long_after_int, int_after_long) in
        [("BACKWARD", true, false), ("forward", false, true), ("FULL", false, false), ("NONE", true, true)]
    {
        for (first, second, accepted) in [(INT, LONG, long_after_int), (LONG, INT, int_after_long)] {
            let mut state = State::default();
            carry_out(&mut state, set_level(Some("a"), &json!({ "compatibility": level }))).unwrap();
            add(&mut state, "a", first).unwrap();
            assert_eq!(add(&mut state, "a", second).is_ok(), accepted, "{level}: {second} after {first}");
        }
    }
}

#[test]
fn a_transitive_level_looks_at_all_versions_and_a_plain_one_at_the_latest() {
    let field = |kind: &str, default: &str| {
        format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":"{kind}"{default}}}]}}"#)
    };
    let (one, two) = (r#"{"type":"record","name":"R","fields":[]}"#.to_owned(), field("int", r#","default":0"#));
    let three = field("int", "");
    for (level, accepted) in [("BACKWARD", true), ("BACKWARD_TRANSITIVE", false)] {
        let mut state = State::default();
        carry_out(&mut state, set_level(None, &json!({ "compatibility": level }))).unwrap();
        add(&mut state, "a", &one).unwrap();
        add(&mut state, "a", &two).unwrap();
        assert_eq!(add(&mut state, "a", &three).is_ok(), accepted, "{level}");
    }
}

#[test]
fn an_incompatible_schema_is_refused_in_confluents_words() {
    let mut state = State::default();
    add(&mut state, "a", INT).unwrap();
    let refusal = register(&state, "a", &posted(STRING)).unwrap_err();
    assert_eq!(refusal.status.as_u16(), 409);
    assert_eq!(
        refusal.message,
        "Schema being registered is incompatible with an earlier schema for subject \"a\", details: [{errorType:'TYPE_MISMATCH', description:'The type (path '/') of a field in the new schema does not match with the old schema', additionalInfo:'reader type: STRING not compatible with writer type: INT'}, {oldSchemaVersion: 1}, {oldSchema: '\"int\"'}, {compatibility: 'BACKWARD'}]"
    );
}

#[test]
fn modes_forbid_writes_and_allow_importing_ids() {
    let mut state = State::default();
    add(&mut state, "a", INT).unwrap();
    let decision = set_mode(&state, None, &json!({"mode": "READONLY"}), false);
    carry_out(&mut state, decision).unwrap();
    assert_eq!(add(&mut state, "a", INT), Ok(json!({"id": 1})), "what stands is found");
    assert_eq!(add(&mut state, "a", LONG), Err(42205));
    assert_eq!(delete_subject(&state, "a", false).unwrap_err().code, 42205);
    assert_eq!(set_mode(&state, Some("a"), &json!({"mode": "IMPORT"}), false).unwrap_err().code, 42205);
    let decision = set_mode(&state, Some("b"), &json!({"mode": "IMPORT"}), false);
    carry_out(&mut state, decision).unwrap();
    let import = |id: u32, text: &str| Posted { id: Some(id), version: Some(7), ..posted(text) };
    let decision = register(&state, "b", &import(90, STRING));
    assert_eq!(carry_out(&mut state, decision), Ok(json!({"id": 90})));
    assert_eq!(state.version("b", VersionId::Latest, Visible::Live).unwrap().0, 7);
    assert_eq!(register(&state, "b", &import(1, LONG)).unwrap_err().code, 42207);
    let decision = unset_mode(&state, None);
    assert_eq!(carry_out(&mut state, decision), Ok(json!({"mode": "READONLY"})));
    assert_eq!(add(&mut state, "c", LONG), Ok(json!({"id": 91})));
}

#[test]
fn what_is_not_avro_is_refused_clearly() {
    for body in [
        json!({"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"}),
        json!({"schema": "\"int\"", "references": [{"name": "a", "subject": "a", "version": 1}]}),
        json!({"schema": ""}),
        json!({}),
        json!({"schema": "{"}),
    ] {
        assert_eq!(Posted::check(&body, false).unwrap_err().code, 42201, "{body}");
    }
}

#[derive(Debug, Clone)]
enum Action {
    Register(u8, u8),
    DeleteSubject(u8, bool),
    DeleteVersion(u8, u32, bool),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        4 => (0..3u8, 0..4u8).prop_map(|(subject, schema)| Action::Register(subject, schema)),
        1 => (0..3u8, any::<bool>()).prop_map(|(subject, permanent)| Action::DeleteSubject(subject, permanent)),
        2 => (0..3u8, 1..5u32, any::<bool>()).prop_map(|(s, version, permanent)| Action::DeleteVersion(s, version, permanent)),
    ];
    prop::collection::vec(action, 0..40)
}

proptest! {
    #[test]
    fn no_sequence_of_requests_gives_an_id_two_schemas_and_replaying_gives_the_same_state(actions in actions()) {
        let mut state = State::default();
        state.apply(Entry::Config { subject: None, level: Some(Compatibility::None) });
        let mut log = vec![Entry::Config { subject: None, level: Some(Compatibility::None) }];
        let mut given = std::collections::HashMap::new();
        let schemas = [INT, LONG, STRING, r#""bytes""#];
        for action in actions {
            let name = |subject: u8| format!("s{subject}");
            let decision = match action {
                Action::Register(subject, schema) => register(&state, &name(subject), &posted(schemas[schema as usize])).inspect(|decision| {
                    let id = decision.answer["id"].as_u64().unwrap();
                    assert_eq!(*given.entry(id).or_insert(schema), schema, "id {id} had another schema");
                }),
                Action::DeleteSubject(subject, permanent) => delete_subject(&state, &name(subject), permanent),
                Action::DeleteVersion(subject, version, permanent) => delete_version(&state, &name(subject), VersionId::Number(version), permanent),
            };
            if let Ok(decision) = decision {
                for entry in decision.entries {
                    log.push(entry.clone());
                    state.apply(entry);
                }
            }
        }
        let mut replayed = State::default();
        // Twice: a reader that lost its place starts over.
        for entry in log.iter().chain(&log) {
            replayed.apply(entry.clone());
        }
        prop_assert_eq!(replayed.id_max(), state.id_max());
        for subject in 0..3 {
            let versions = |state: &State| state.versions(&format!("s{subject}"), Visible::All).map(|(number, version)| (number, version.id, version.deleted)).collect::<Vec<_>>();
            prop_assert_eq!(versions(&replayed), versions(&state));
        }
    }
}
