//! Time travel in SQL: `shape.orders FOR VERSION AS OF 5`, which DataFusion does not know, becomes a name that it can
//! look up. Pure.
//!
//! The clause is found among the tokens and cut from the text; everything else stays as it was written, to the byte. The
//! name carries table, metadata table and moment ([`Name`]), in letters no table of the lake is called by.

use datafusion::sql::sqlparser::{
    dialect::Dialect,
    keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS},
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Word},
};

use crate::{
    error::{LakeError, Result},
    tables::travel::AsOf,
};

const VERSION_MARK: &str = "@version=";
const TIME_MARK: &str = "@time=";

/// What a name in SQL stands for, below a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub table: String,
    /// `snapshots` of `orders$snapshots`.
    pub facts: Option<String>,
    pub at: Option<AsOf>,
}

impl Name {
    /// Takes a name apart.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let found = |mark: &'static str| text.find(mark).map(|place| (place, mark));
        let (name, at) = match [found(VERSION_MARK), found(TIME_MARK)].into_iter().flatten().min() {
            Some((place, mark)) => {
                let at = text[place + mark.len()..].to_owned();
                (&text[..place], Some(if mark == TIME_MARK { AsOf::Time(at) } else { AsOf::Version(at) }))
            }
            None => (text, None),
        };
        let (table, facts) = match name.split_once('$') {
            Some((table, facts)) => (table, Some(facts.to_ascii_lowercase())),
            None => (name, None),
        };
        Self { table: table.to_owned(), facts, at }
    }
}

/// The statement with every time-travel clause replaced.
///
/// # Errors
/// When the text cannot be tokenized, or a clause names no literal.
pub fn rewrite(sql: &str, dialect: &dyn Dialect) -> Result<String> {
    // Most statements have none.
    if !contains_of(sql) {
        return Ok(sql.to_owned());
    }
    let tokens = Tokenizer::new(dialect, sql).tokenize_with_location();
    let tokens = tokens.map_err(|error| LakeError::Query(format!("SQL: {error}")))?;
    let tokens: Vec<_> = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    let starts = Lines::of(sql);
    let (mut out, mut copied, mut index) = (String::with_capacity(sql.len() + 32), 0, 0);
    while index < tokens.len() {
        let Some(clause) = clause(&tokens, index)? else {
            index += 1;
            continue;
        };
        let Some((name, span)) = index.checked_sub(1).and_then(|before| identifier(&tokens, before)) else {
            return Err(LakeError::Query(format!("{} AS OF stands behind a table's name", clause.keyword)));
        };
        out.push_str(&sql[copied..starts.offset(span.0)]);
        let folded = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
        let mark = if matches!(clause.at, AsOf::Version(_)) { VERSION_MARK } else { TIME_MARK };
        let (AsOf::Version(at) | AsOf::Time(at)) = &clause.at;
        out.push_str(&quoted(&format!("{folded}{mark}{at}")));
        if !alias_follows(&tokens, clause.end) {
            out.push_str(" AS ");
            out.push_str(&quoted(&folded));
        }
        copied = starts.offset(tokens[clause.end - 1].span.end);
        index = clause.end;
    }
    out.push_str(&sql[copied..]);
    Ok(out)
}

/// Whether the word OF is in the text at all.
fn contains_of(sql: &str) -> bool {
    sql.as_bytes().windows(2).any(|pair| pair.eq_ignore_ascii_case(b"of"))
}

struct Clause {
    keyword: &'static str,
    at: AsOf,
    /// Index of the first token after it.
    end: usize,
}

/// The clause that begins at a token: `[FOR] VERSION|TIMESTAMP|SYSTEM_VERSION|SYSTEM_TIME AS OF [TIMESTAMP] literal`.
fn clause(tokens: &[TokenWithSpan], start: usize) -> Result<Option<Clause>> {
    let word = |index: usize| match tokens.get(index).map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let with_for = word(start) == "FOR";
    let first = start + usize::from(with_for);
    let keyword = match word(first).as_str() {
        "VERSION" | "SYSTEM_VERSION" => "VERSION",
        "TIMESTAMP" | "SYSTEM_TIME" => "TIMESTAMP",
        _ => return Ok(None),
    };
    if word(first + 1) != "AS" || word(first + 2) != "OF" {
        return Ok(None);
    }
    let mut literal = first + 3;
    if keyword == "TIMESTAMP" && word(literal) == "TIMESTAMP" {
        literal += 1;
    }
    let at = match tokens.get(literal).map(|token| &token.token) {
        Some(Token::SingleQuotedString(text)) if keyword == "TIMESTAMP" => AsOf::Time(text.clone()),
        Some(Token::SingleQuotedString(text)) => AsOf::Version(text.clone()),
        Some(Token::Number(number, _)) if keyword == "VERSION" => AsOf::Version(number.clone()),
        // `version AS of` may also be a column and its alias.
        _ if !with_for => return Ok(None),
        _ => {
            let wanted = if keyword == "VERSION" { "a snapshot's id or a 'branch or tag'" } else { "a 'time'" };
            return Err(LakeError::Query(format!("{keyword} AS OF wants {wanted}, written out")));
        }
    };
    Ok(Some(Clause { keyword, at, end: literal + 1 }))
}

/// The name that ends at a token, and where it stands.
fn identifier(tokens: &[TokenWithSpan], index: usize) -> Option<(Word, (Location, Location))> {
    let token = tokens.get(index)?;
    match &token.token {
        Token::Word(word) if word.keyword == Keyword::NoKeyword || word.quote_style.is_some() || !reserved(word) => {
            Some((word.clone(), (token.span.start, token.span.end)))
        }
        _ => None,
    }
}

fn reserved(word: &Word) -> bool {
    RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword)
}

fn alias_follows(tokens: &[TokenWithSpan], index: usize) -> bool {
    match tokens.get(index).map(|token| &token.token) {
        Some(Token::Word(word)) => word.keyword == Keyword::AS || word.quote_style.is_some() || !reserved(word),
        _ => false,
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Where lines begin, to turn a token's line and column (in characters) into a place in the text.
struct Lines<'a> {
    sql: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(sql: &'a str) -> Self {
        let after = sql.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { sql, starts: std::iter::once(0).chain(after).collect() }
    }

    fn offset(&self, at: Location) -> usize {
        let line = usize::try_from(at.line).unwrap_or(1).saturating_sub(1);
        let column = usize::try_from(at.column).unwrap_or(1).saturating_sub(1);
        let Some(&start) = self.starts.get(line) else { return self.sql.len() };
        self.sql[start..].char_indices().nth(column).map_or(self.sql.len(), |(byte, _)| start + byte)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::sql::sqlparser::{
        dialect::{GenericDialect, PostgreSqlDialect},
        parser::Parser,
    };
    use proptest::prelude::*;

    use super::*;

    fn rewritten(sql: &str) -> String {
        let generic = rewrite(sql, &GenericDialect {}).unwrap();
        assert_eq!(generic, rewrite(sql, &PostgreSqlDialect {}).unwrap());
        generic
    }

    #[test]
    fn the_clause_becomes_part_of_the_name() {
        for (sql, expected) in [
            ("SELECT * FROM shape.orders FOR VERSION AS OF 5", r#"SELECT * FROM shape."orders@version=5" AS "orders""#),
            (
                "SELECT * FROM shape.Orders version as of 'main' o WHERE o.id = 1",
                r#"SELECT * FROM shape."orders@version=main" o WHERE o.id = 1"#,
            ),
            (
                "SELECT * FROM a TIMESTAMP AS OF '2024-05-05' AS b, \"C\" FOR TIMESTAMP AS OF TIMESTAMP '2024-05-05 10:00:00'",
                r#"SELECT * FROM "a@time=2024-05-05" AS b, "C@time=2024-05-05 10:00:00" AS "C""#,
            ),
            (
                "SELECT 'ü',\n\t* FROM \"é\" FOR SYSTEM_VERSION AS OF 7\nJOIN b FOR SYSTEM_TIME AS OF 'x''y' ON true",
                "SELECT 'ü',\n\t* FROM \"é@version=7\" AS \"é\"\nJOIN \"b@time=x'y\" AS \"b\" ON true",
            ),
            (
                "SELECT * FROM \"orders$files\" FOR VERSION AS OF 5",
                r#"SELECT * FROM "orders$files@version=5" AS "orders$files""#,
            ),
            ("SELECT version AS of FROM t", "SELECT version AS of FROM t"),
            ("SELECT 'FOR VERSION AS OF 5' -- VERSION AS OF 6", "SELECT 'FOR VERSION AS OF 5' -- VERSION AS OF 6"),
        ] {
            assert_eq!(rewritten(sql), expected);
        }
        for sql in [
            "SELECT * FROM t FOR VERSION AS OF $1",
            "SELECT * FROM t FOR TIMESTAMP AS OF now()",
            "SELECT * FROM (SELECT 1) FOR VERSION AS OF 5",
            "FOR VERSION AS OF 5",
        ] {
            assert!(matches!(rewrite(sql, &GenericDialect {}), Err(LakeError::Query(_))), "{sql}");
        }
    }

    #[test]
    fn names_are_taken_apart() {
        let name =
            |table: &str, facts: Option<&str>, at| Name { table: table.into(), facts: facts.map(str::to_owned), at };
        assert_eq!(Name::parse("orders"), name("orders", None, None));
        assert_eq!(Name::parse("orders$files"), name("orders", Some("files"), None));
        assert_eq!(
            Name::parse("orders$FILES@version=5"),
            name("orders", Some("files"), Some(AsOf::Version("5".into())))
        );
        assert_eq!(
            Name::parse("orders@time=2024 @version"),
            name("orders", None, Some(AsOf::Time("2024 @version".into())))
        );
    }

    proptest! {
        /// Whatever the text, nothing panics; what has no clause comes back as it was.
        #[test]
        fn any_text_is_rewritten_or_refused(pieces in prop::collection::vec(prop_oneof![
            Just("FOR"), Just("VERSION"), Just("timestamp"), Just("AS"), Just("OF"), Just("5"), Just("'a''b'"), Just("\"q\"\"r\""),
            Just("é"), Just("\n"), Just("--c\n"), Just("/*"), Just("*/"), Just("t"), Just("."), Just("'"), Just("\""), Just("$1"), Just("$$"), Just("(")], 0..24)) {
            let sql = pieces.join(" ");
            let _ = rewrite(&sql, &PostgreSqlDialect {});
            let _ = rewrite(&sql, &GenericDialect {});
        }

        /// Name and moment come back whole, whatever they are made of, and the rest of the statement is not touched.
        #[test]
        fn name_and_moment_survive(table in "[a-zé\" $]{1,8}", version in "[ -~é]{0,12}", before in "[ -&(-~é\n]{0,10}") {
            let sql = format!("SELECT '{before}' FROM shape.{} FOR VERSION AS OF '{}' WHERE x", quoted(&table), version.replace('\'', "''"));
            let out = rewrite(&sql, &GenericDialect {}).unwrap();
            let head = format!("SELECT '{before}' FROM shape.");
            prop_assert!(out.starts_with(&head) && out.ends_with(" WHERE x"), "{}", out);
            let statements = Parser::parse_sql(&GenericDialect {}, &out).unwrap();
            prop_assert_eq!(statements.len(), 1);
            let tokens = Tokenizer::new(&GenericDialect {}, &out[head.len()..]).tokenize().unwrap();
            let Token::Word(word) = &tokens[0] else { unreachable!("{tokens:?}") };
            if !version.contains('@') {
                let name = Name::parse(&word.value);
                prop_assert_eq!(name.at, Some(AsOf::Version(version)));
                prop_assert_eq!(name.table, table.split('$').next().unwrap());
            }
        }
    }
}
