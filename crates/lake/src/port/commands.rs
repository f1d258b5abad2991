//! What a text from a client asks for: queries, and the few commands of a session, which change nothing. Pure.

use datafusion::sql::sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Token, TokenWithSpan, Tokenizer},
};

use super::{
    answers::Fault,
    copy::{self, Copy},
};

/// What one statement asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Nothing.
    Empty,
    /// To be planned.
    Query(String),
    /// Accepted and answered with its tag; nothing happens.
    Accepted(&'static str),
    Begin,
    Commit,
    Rollback,
    /// A setting's value, as one row.
    Show(String),
    Declare {
        cursor: String,
        query: String,
    },
    /// Rows of a cursor; none: all.
    Fetch {
        cursor: String,
        rows: Option<u32>,
    },
    /// A cursor, or all.
    CloseCursor(Option<String>),
    /// A prepared statement, or all.
    Deallocate(Option<String>),
    /// All rows of a query, in bulk.
    Copy {
        query: String,
        how: Copy,
    },
}

/// Splits a text into its statements, by the semicolons between them.
///
/// # Errors
/// `42601` when it cannot be tokenized.
pub fn split(sql: &str) -> Result<Vec<String>, Fault> {
    let mut parts = Vec::new();
    let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().map_err(syntax)?.into_iter();
    let mut rest = sql;
    let mut line_col = (1_u64, 1_u64);
    loop {
        let end = tokens.find(|token| token.token == Token::SemiColon);
        let Some(TokenWithSpan { span, .. }) = end else { break };
        let at = advance(rest, &mut line_col, (span.start.line, span.start.column));
        parts.push(rest[..at].to_owned());
        rest = &rest[at..];
        let after = advance(rest, &mut line_col, (span.end.line, span.end.column));
        rest = &rest[after.max(1).min(rest.len())..];
    }
    parts.push(rest.to_owned());
    parts.retain(|part| words(part).map_or(true, |words| !words.is_empty()));
    Ok(parts)
}

/// Bytes from the place `at` (line and column in characters) to `to`.
pub fn advance(text: &str, at: &mut (u64, u64), to: (u64, u64)) -> usize {
    for (byte, letter) in text.char_indices() {
        if *at >= to {
            return byte;
        }
        *at = if letter == '\n' { (at.0 + 1, 1) } else { (at.0, at.1 + 1) };
    }
    text.len()
}

pub fn syntax(error: impl std::fmt::Display) -> Fault {
    Fault::new("42601", error.to_string())
}

/// The tokens that are no space or comment.
fn words(sql: &str) -> Result<Vec<Token>, Fault> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize().map_err(syntax)?;
    Ok(tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_) | Token::SemiColon)).collect())
}

/// What a statement asks for.
///
/// # Errors
/// When it is malformed, would change something, or is not served.
pub fn read(sql: &str) -> Result<Command, Fault> {
    let tokens = words(sql)?;
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    if tokens.is_empty() {
        return Ok(Command::Empty);
    }
    let first = word(0);
    Ok(match first.as_str() {
        "BEGIN" | "START" => Command::Begin,
        "COMMIT" | "END" if word(1) != "PREPARED" => Command::Commit,
        "ROLLBACK" if word(1) == "TO" || word(2) == "TO" => Command::Accepted("ROLLBACK"),
        "ROLLBACK" | "ABORT" if word(1) != "PREPARED" => Command::Rollback,
        "SAVEPOINT" => Command::Accepted("SAVEPOINT"),
        "RELEASE" => Command::Accepted("RELEASE"),
        "SET" => {
            encoding(&tokens)?;
            Command::Accepted("SET")
        }
        "RESET" => Command::Accepted("RESET"),
        "UNLISTEN" => Command::Accepted("UNLISTEN"),
        "DISCARD" => Command::Accepted("DISCARD ALL"),
        "DEALLOCATE" => {
            let at = 1 + usize::from(word(1) == "PREPARE");
            Command::Deallocate(if word(at) == "ALL" { None } else { Some(name(&tokens, at)?) })
        }
        "SHOW" if !["TABLES", "COLUMNS", "FUNCTIONS"].contains(&word(1).as_str()) => {
            Command::Show(setting(&tokens[1..]))
        }
        "DECLARE" => declare(sql, &tokens)?,
        "FETCH" => fetch(&tokens)?,
        "COPY" => {
            let (text, how) = copy::read(sql)?;
            match read(&text)? {
                Command::Query(query) => Command::Copy { query, how },
                _ => return Err(Fault::new("42601", "COPY is of a query")),
            }
        }
        "CLOSE" if word(1) == "ALL" => Command::CloseCursor(None),
        "CLOSE" => Command::CloseCursor(Some(name(&tokens, 1)?)),
        "SELECT" | "WITH" | "VALUES" | "TABLE" | "EXPLAIN" | "SHOW" | "DESCRIBE" | "DESC" | "" => {
            Command::Query(sql.to_owned())
        }
        "PREPARE" | "EXECUTE" | "LISTEN" | "NOTIFY" | "MOVE" | "DO" | "CALL" | "LOAD" => {
            return Err(Fault::new(
                "0A000",
                format!("{first} is not served; there are queries and prepared statements of the protocol"),
            ));
        }
        _ if WRITES.contains(&first.as_str()) => return Err(read_only(&first)),
        _ => return Err(Fault::new("42601", format!("syntax error at or near \"{}\"", tokens[0]))),
    })
}

const WRITES: [&str; 21] = [
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "GRANT",
    "REVOKE",
    "VACUUM",
    "ANALYZE",
    "REINDEX",
    "CLUSTER",
    "COMMENT",
    "REFRESH",
    "LOCK",
    "REASSIGN",
    "IMPORT",
    "SECURITY",
    "CHECKPOINT",
];

/// The refusal of a statement that would change something.
#[must_use]
pub fn read_only(command: &str) -> Fault {
    Fault::new("25006", format!("cannot execute {command} in a read-only transaction"))
}

/// Another encoding than the one that is sent would garble letters: it is refused, not passed over.
fn encoding(tokens: &[Token]) -> Result<(), Fault> {
    let names = tokens.iter().any(|token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case("client_encoding") || word.value.eq_ignore_ascii_case("names")));
    let value = match tokens.last() {
        Some(Token::SingleQuotedString(value)) => value.clone(),
        Some(Token::Word(word)) => word.value.clone(),
        _ => return Ok(()),
    };
    let letters: String = value.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let known = ["UTF8", "UNICODE", "DEFAULT", "SQLASCII"];
    if names && !known.contains(&letters.as_str()) {
        return Err(Fault::new("0A000", format!("the encoding is UTF8, not {value}")));
    }
    Ok(())
}

/// Name of a setting: `TRANSACTION ISOLATION LEVEL` is `transaction_isolation`.
fn setting(tokens: &[Token]) -> String {
    let words: Vec<String> = tokens
        .iter()
        .map(|token| match token {
            Token::Word(word) => word.value.to_ascii_lowercase(),
            other => other.to_string(),
        })
        .collect();
    match words.join(" ").as_str() {
        "transaction isolation level" => "transaction_isolation".to_owned(),
        "time zone" => "timezone".to_owned(),
        "session authorization" => "session_authorization".to_owned(),
        other => other.replace(' ', ""),
    }
}

fn name(tokens: &[Token], at: usize) -> Result<String, Fault> {
    match tokens.get(at) {
        Some(Token::Word(word)) if word.quote_style.is_some() => Ok(word.value.clone()),
        Some(Token::Word(word)) => Ok(word.value.to_lowercase()),
        _ => Err(Fault::new("42601", "a name is expected")),
    }
}

/// `DECLARE name … CURSOR … FOR query`.
fn declare(sql: &str, tokens: &[Token]) -> Result<Command, Fault> {
    let cursor = name(tokens, 1)?;
    let all = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().map_err(syntax)?;
    let is = |token: &TokenWithSpan, text: &str| matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text));
    let all = all.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let after_cursor = all.skip_while(|token| !is(token, "CURSOR"));
    let start = after_cursor.skip_while(|token| !is(token, "FOR")).nth(1);
    let Some(start) = start else { return Err(Fault::new("42601", "DECLARE … CURSOR FOR wants a query")) };
    let from = advance(sql, &mut (1, 1), (start.span.start.line, start.span.start.column));
    match read(&sql[from..])? {
        Command::Query(query) => Ok(Command::Declare { cursor, query }),
        _ => Err(Fault::new("42601", "a cursor is for a query")),
    }
}

/// `FETCH [FORWARD] [n | ALL] [FROM | IN] name`; a cursor only goes forward.
fn fetch(tokens: &[Token]) -> Result<Command, Fault> {
    let mut rows = Some(1);
    let mut at = 1;
    while let Some(token) = tokens.get(at).filter(|_| at + 1 < tokens.len()) {
        match token {
            Token::Word(word) => match word.value.to_ascii_uppercase().as_str() {
                "FORWARD" | "NEXT" | "FROM" | "IN" => {}
                "ALL" => rows = None,
                other => return Err(Fault::new("55000", format!("a cursor goes forward only: not {other}"))),
            },
            Token::Number(number, _) => {
                rows = Some(number.parse().map_err(|_| Fault::new("22003", "FETCH wants a number of rows"))?);
            }
            other => return Err(Fault::new("42601", format!("syntax error at or near \"{other}\""))),
        }
        at += 1;
    }
    Ok(Command::Fetch { cursor: name(tokens, at)?, rows })
}

/// What a setting is; it is the same for every session.
#[must_use]
pub fn value(setting: &str) -> Option<&'static str> {
    Some(match setting {
        "server_version" => super::VERSION,
        "server_version_num" => super::VERSION_NUM,
        "server_encoding" | "client_encoding" => "UTF8",
        "datestyle" => "ISO, MDY",
        "intervalstyle" => "postgres",
        "timezone" => "UTC",
        "standard_conforming_strings" | "integer_datetimes" => "on",
        "transaction_read_only" | "default_transaction_read_only" => "on",
        "transaction_isolation" | "default_transaction_isolation" => "read committed",
        "search_path" => "shape",
        "max_identifier_length" => "63",
        "max_index_keys" => "32",
        "session_authorization" => super::USER,
        "is_superuser" | "in_hot_standby" => "off",
        "application_name" => "",
        "statement_timeout" | "lock_timeout" => "0",
        "extra_float_digits" => "1",
        "bytea_output" => "hex",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statements_are_told_apart() {
        assert_eq!(split("SELECT ';' ; -- x;\n;select 'ü;'; ").unwrap(), ["SELECT ';' ", "select 'ü;'"]);
        for (sql, expected) in [
            ("begin read only", Command::Begin),
            ("/* x */ COMMIT", Command::Commit),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Command::Accepted("SET")),
            ("SHOW TRANSACTION ISOLATION LEVEL", Command::Show("transaction_isolation".into())),
            ("show DateStyle", Command::Show("datestyle".into())),
            ("FETCH FORWARD 100 FROM \"C 1\"", Command::Fetch { cursor: "C 1".into(), rows: Some(100) }),
            ("fetch all from c", Command::Fetch { cursor: "c".into(), rows: None }),
            ("FETCH c", Command::Fetch { cursor: "c".into(), rows: Some(1) }),
            (
                "DECLARE \"c\" NO SCROLL CURSOR WITHOUT HOLD FOR\nSELECT 1",
                Command::Declare { cursor: "c".into(), query: "SELECT 1".into() },
            ),
            ("CLOSE ALL", Command::CloseCursor(None)),
            ("DEALLOCATE PREPARE x", Command::Deallocate(Some("x".into()))),
            ("-- nothing", Command::Empty),
        ] {
            assert_eq!(read(sql).unwrap(), expected, "{sql}");
        }
        for (sql, code) in [
            ("INSERT INTO a VALUES (1)", "25006"),
            ("create table x (a int)", "25006"),
            ("COPY a FROM STDIN", "25006"),
            ("COPY (DELETE FROM a) TO STDOUT", "25006"),
            ("COPY (SHOW datestyle) TO STDOUT", "42601"),
            ("DECLARE c CURSOR FOR DELETE FROM a", "25006"),
            ("SET client_encoding = 'LATIN1'", "0A000"),
            ("FETCH BACKWARD 1 FROM c", "55000"),
            ("PREPARE x AS SELECT 1", "0A000"),
            ("CHOOSE 1", "42601"),
        ] {
            assert_eq!(read(sql).unwrap_err().code, code, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[;'\"a-zé$ \n(-]{0,40}") {
            for part in split(&text).unwrap_or_default() {
                let _ = read(&part);
            }
        }
    }
}
