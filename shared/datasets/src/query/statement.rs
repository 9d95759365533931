//! Finds the parameters of an SQL statement.
//!
//! A parameter is `:name` outside of literals, quoted names and comments. Everything else is the database's to judge, except
//! for what would not stay inside the parentheses in which the statement is run. What PostgreSQL and SQLite read differently
//! is refused.

/// A statement with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The number of a parameter.
    Parameter(usize),
}

impl Statement {
    /// Finds the parameters, which have these names. An error says what is wrong, and in which line.
    pub(crate) fn parse(sql: &str, names: &[&str]) -> Result<Self, String> {
        let sql = sql.trim_end().trim_end_matches(';');
        if sql.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        if sql.contains('\0') || sql.replace("\r\n", "").contains('\r') {
            return Err("it has U+0000, or a carriage return that ends no line".to_owned());
        }
        let mut lexer = Lexer { sql, at: 0, depth: 0, brackets: 0 };
        let (mut parts, mut begin) = (Vec::new(), 0);
        while let Some(token) = lexer.next().map_err(|error| lexer.located(&error))? {
            if let Token::Parameter(name) = token {
                let known = names.iter().position(|known| *known == name);
                let known = known.ok_or_else(|| {
                    lexer.located(&format!("the parameter :{name} is not declared"))
                })?;
                let end = lexer.at - name.len() - 1;
                parts.extend([Part::Text(sql[begin..end].to_owned()), Part::Parameter(known)]);
                begin = lexer.at;
            }
        }
        if lexer.depth + lexer.brackets > 0 {
            return Err("a parenthesis or a bracket is not closed".to_owned());
        }
        parts.push(Part::Text(sql[begin..].to_owned()));
        let is_used = |at: usize| parts.contains(&Part::Parameter(at));
        match (0..names.len()).find(|at| !is_used(*at)) {
            Some(unused) => Err(format!("it does not use the parameter {}", names[unused])),
            None => Ok(Self(parts)),
        }
    }

    pub(crate) fn text(&self, placeholder: impl Fn(usize) -> String) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Parameter(at) => placeholder(*at),
        });
        parts.collect()
    }
}

enum Token<'a> {
    Parameter(&'a str),
    Other,
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
    /// The number of open parentheses.
    depth: usize,
    /// The number of open brackets. In SQLite they enclose a name.
    brackets: usize,
}

impl<'a> Lexer<'a> {
    /// The next token; none at the end.
    fn next(&mut self) -> Result<Option<Token<'a>>, String> {
        let rest = &self.sql[self.at..];
        let Some(first) = rest.chars().next() else {
            return Ok(None);
        };
        let is_plain = |first: char| first.is_alphanumeric() || "_,:[] \t\r\n".contains(first);
        if self.brackets > 0 && !is_plain(first) {
            return Err("inside brackets there can be names and numbers only".to_owned());
        }
        let length = match first {
            '\'' => quoted(rest, '\'').ok_or("a text literal is not closed")?,
            '"' => quoted(rest, '"').ok_or("a quoted name is not closed")?,
            'e' | 'E' if rest[1..].starts_with('\'') => {
                return Err("there is a literal E'…': write it without E".to_owned());
            }
            '$' => return Err("there is a $: parameters are written as in :name".to_owned()),
            '`' => return Err("there is a `: names are quoted as in \"name\"".to_owned()),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest)?,
            ':' if rest.starts_with("::") || rest.starts_with(":=") => 2,
            ':' => {
                let name = word(&rest[1..]);
                self.at += 1 + name.len();
                let is_parameter = name.starts_with(|first: char| !first.is_ascii_digit());
                return Ok(Some(if is_parameter { Token::Parameter(name) } else { Token::Other }));
            }
            ';' => return Err("there is a semicolon: a query is one statement".to_owned()),
            '(' => {
                self.depth += 1;
                1
            }
            ')' => {
                let outer = self.depth.checked_sub(1);
                self.depth = outer.ok_or("a parenthesis is closed that was not opened")?;
                1
            }
            '[' => {
                self.brackets += 1;
                1
            }
            ']' => {
                let outer = self.brackets.checked_sub(1);
                self.brackets = outer.ok_or("a bracket is closed that was not opened")?;
                1
            }
            _ => word(rest).len().max(first.len_utf8()),
        };
        self.at += length;
        Ok(Some(Token::Other))
    }

    fn located(&self, error: &str) -> String {
        let line = self.sql[..self.at].matches('\n').count() + 1;
        format!("line {line} of it: {error}")
    }
}

/// The letters, digits and underscores with which a text begins.
fn word(text: &str) -> &str {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let end = text.find(|character| !is_part(character)).unwrap_or(text.len());
    &text[..end]
}

/// The length of a literal or a name, in which a doubled quote is one of its characters.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// The length of a comment. PostgreSQL's can be nested, and SQLite's cannot.
fn comment(text: &str) -> Result<usize, &'static str> {
    let end = text[2..].find("*/").ok_or("a comment is not closed")?;
    if text[2..2 + end].contains("/*") {
        return Err("a comment is inside another one");
    }
    Ok(end + 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(sql: &str) -> Result<String, String> {
        Statement::parse(sql, &["at", "b"]).map(|parsed| parsed.text(|at| format!("${}", at + 1)))
    }

    #[test]
    fn parameters_are_found_outside_of_literals_and_comments() {
        for (sql, expected) in [
            ("SELECT :at, :b, :at;\n", "SELECT $1, $2, $1"),
            (r#"SELECT ':at''', ":b", :at+:b"#, r#"SELECT ':at''', ":b", $1+$2"#),
            ("SELECT :at::text, a[1:2] -- :b'\n + :b", "SELECT $1::text, a[1:2] -- :b'\n + $2"),
            ("SELECT /* :x ' */ :at(:b)", "SELECT /* :x ' */ $1($2)"),
            (r"SELECT 'a\', :at, e.b, :b", r"SELECT 'a\', $1, e.b, $2"),
            ("SELECT a[:at], [[1, 2], [3]],\r\n:b", "SELECT a[$1], [[1, 2], [3]],\r\n$2"),
            ("SELECT type'x', :at, é, :b", "SELECT type'x', $1, é, $2"),
        ] {
            assert_eq!(text(sql).as_deref(), Ok(expected), "{sql}");
        }
    }

    #[test]
    fn what_is_not_one_statement_is_refused() {
        for (sql, message) in [
            (" ;", "it is empty"),
            ("SELECT :at", "it does not use the parameter b"),
            ("SELECT :at,\n:c, :b", "line 2 of it: the parameter :c is not declared"),
            ("SELECT 1; DROP TABLE x", "a query is one statement"),
            ("SELECT 1) q; --", "a parenthesis is closed that was not opened"),
            ("SELECT 1) q, (SELECT 2", "a parenthesis is closed that was not opened"),
            ("SELECT (:at, :b", "a parenthesis or a bracket is not closed"),
            ("SELECT 'x", "line 1 of it: a text literal is not closed"),
            (r"SELECT e'\'", "write it without E"),
            ("SELECT E'a'\n'\\''", "write it without E"),
            ("SELECT `a'`) AS q", "names are quoted as in"),
            ("SELECT 1 AS [b'] ) AS q --']", "inside brackets there can be names"),
            ("SELECT a[1", "a parenthesis or a bracket is not closed"),
            ("SELECT a]", "a bracket is closed that was not opened"),
            ("SELECT 1 -- \r) AS q", "a carriage return that ends no line"),
            ("SELECT '\0'", "U+0000"),
            ("SELECT \"x", "a quoted name is not closed"),
            ("SELECT /* x", "a comment is not closed"),
            ("SELECT /* /* */) AS q -- */", "a comment is inside another one"),
            ("SELECT $1", "parameters are written as in :name"),
            ("SELECT $at", "parameters are written as in :name"),
            ("SELECT 1 AS b$q$ ) AS r", "parameters are written as in :name"),
        ] {
            let refused = text(sql).unwrap_err();
            assert!(refused.contains(message), "{sql}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn text_of_a_parsed_statement_is_kept(sql in r#"[ :a;()\[\]'"$/*\-\\eé\n]{0,20}"#) {
            if let Ok(parsed) = Statement::parse(&sql, &["a"]) {
                let kept = parsed.text(|_| ":a".to_owned());
                assert_eq!(kept, sql.trim_end().trim_end_matches(';'));
            }
        }
    }
}
