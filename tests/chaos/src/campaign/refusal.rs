//! Rules of the user in the database, which refuse rows of valid lines.

use jetline_oracle::{self as oracle, ledger::Ledger};
use serde::{Deserialize, Serialize};

/// How a table refuses rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    Check,
    Exception,
    /// A constraint that is checked at commit.
    Deferred,
    /// Row-level security.
    Policy,
    /// A trigger that returns NULL.
    Suppressed,
}

/// The role for row-level security, which does not apply to superusers.
pub(crate) const ROLE: &str = "loader";

impl Refusal {
    pub(crate) const ALL: [Self; 5] =
        [Self::Check, Self::Exception, Self::Deferred, Self::Policy, Self::Suppressed];

    /// Its name in reports.
    pub(crate) fn name(self) -> String {
        let way = match self {
            Self::Check => "a CHECK",
            Self::Exception => "RAISE in a trigger",
            Self::Deferred => "a deferred constraint",
            Self::Policy => "row-level security",
            Self::Suppressed => "a trigger that returns NULL",
        };
        format!("rows refused by {way}")
    }

    /// The refusal for the oracle.
    pub(crate) fn expected(self) -> oracle::Refusal {
        oracle::Refusal {
            refuses: |row| row["title"].ends_with(", state 1"),
            reason: match self {
                Self::Suppressed => "suppressed_by_database",
                _ => "refused_by_database",
            },
        }
    }

    /// Adds the rule to the table of a database.
    pub(crate) async fn put(self, ledger: &Ledger) -> anyhow::Result<()> {
        Ok(ledger.run(&self.rule()).await?)
    }

    fn rule(self) -> String {
        let function = |act: &str| {
            format!(
                "CREATE FUNCTION rule() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN IF new.title LIKE ''%, state 1'' THEN {act}; END IF; RETURN new; END';"
            )
        };
        let before = "CREATE TRIGGER rule BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION rule()";
        match self {
            Self::Check => {
                "ALTER TABLE products ADD CONSTRAINT rule CHECK (title NOT LIKE '%, state 1')".to_owned()
            }
            Self::Exception => function("RAISE ''not this one''") + before,
            Self::Suppressed => function("RETURN NULL") + before,
            Self::Deferred => {
                function("RAISE ''not this one''")
                    + "CREATE CONSTRAINT TRIGGER rule AFTER INSERT OR UPDATE ON products
                       DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rule()"
            }
            Self::Policy => format!(
                "DO 'BEGIN CREATE ROLE {ROLE} LOGIN PASSWORD ''{ROLE}'';
                     EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END';
                 GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE};
                 GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE};
                 ALTER TABLE products OWNER TO {ROLE};
                 ALTER TABLE products ENABLE ROW LEVEL SECURITY;
                 ALTER TABLE products FORCE ROW LEVEL SECURITY;
                 CREATE POLICY rule ON products USING (true) WITH CHECK (title NOT LIKE '%, state 1')"
            ),
        }
    }
}
