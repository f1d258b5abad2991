//! Names under the rules of Avro and Kafka, as Debezium adjusts them.

/// A column's name as Avro takes it: other characters become `_`, one per UTF-16 unit as in Java, and a leading digit gets
/// a `_` in front.
pub(super) fn field_name(name: &str) -> String {
    let mut field = String::with_capacity(name.len() + 1);
    for (i, c) in name.chars().enumerate() {
        if c.is_ascii_alphabetic() || c == '_' || (i > 0 && c.is_ascii_digit()) {
            field.push(c);
            continue;
        }
        field.extend(std::iter::repeat_n('_', c.len_utf16()));
        if i == 0 && c.is_ascii_digit() {
            field.push(c);
        }
    }
    field
}

/// Kafka allows letters, digits, `.`, `_` and `-`; everything else becomes `_`, one per UTF-16 unit as in Java.
pub(super) fn sanitized_topic(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut topic = String::with_capacity(name.len());
    for c in name.chars() {
        if allowed(c) {
            topic.push(c);
        } else {
            topic.extend(std::iter::repeat_n('_', c.len_utf16()));
        }
    }
    topic.truncate(249);
    topic
}

/// Namespace of the table's records: the topic, with `-` replaced, which Avro does not allow. Debezium leaves it, and the
/// registry then refuses the schema; so this differs only where Debezium fails.
pub(super) fn namespace(topic: &str) -> String {
    let parts: Vec<String> = topic.split('.').map(field_name).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_fit_avro() {
        for (column, field) in [
            ("Id Col", "Id_Col"),
            ("héé", "h__"),
            ("9lives", "_9lives"),
            ("select", "select"),
            ("a.b", "a_b"),
            ("🚀", "__"),
        ] {
            assert_eq!(field_name(column), field);
        }
    }

    #[test]
    fn topics_keep_what_kafka_allows() {
        assert_eq!(sanitized_topic("a-1.public.Weird$T"), "a-1.public.Weird_T");
        assert_eq!(namespace("a-1.public.9t"), "a_1.public._9t");
    }
}
