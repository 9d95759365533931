//! The destinations of a declaration: `[[deliver]]`.

use std::{num::NonZeroU32, ops::Range};

use toml::Spanned;

use super::shape::{DelayDeclaration, DeliverDeclaration, Fault};
use crate::{
    dataset::Column,
    destination::{ChangeKind, Delay, Destination, Template},
    names::is_name,
    value::Type,
};

/// The default of `concurrency`.
const CONCURRENCY: NonZeroU32 = NonZeroU32::new(16).unwrap();

/// Maximum of `concurrency`: each request may need memory for a record and an answer.
const MAX_CONCURRENCY: u32 = 1_000;

pub(super) fn destinations(
    declared: Vec<DeliverDeclaration>,
    columns: &[Column],
    has_deletes: bool,
) -> Result<Vec<Destination>, Fault> {
    let mut destinations: Vec<Destination> = Vec::new();
    for one in declared {
        let span = one.name.span();
        let destination = destination(one, columns, has_deletes)?;
        if destinations.iter().any(|known| known.name == destination.name) {
            return Err((span, format!("deliver: {} is declared twice", destination.name)));
        }
        destinations.push(destination);
    }
    Ok(destinations)
}

fn destination(
    declared: DeliverDeclaration,
    columns: &[Column],
    has_deletes: bool,
) -> Result<Destination, Fault> {
    let DeliverDeclaration { name, url, secret, on, delay, concurrency, rate } = declared;
    if !is_name(name.get_ref()) {
        let message = "deliver: a name has letters, digits and _, at most 63, and no digit first";
        return Err((name.span(), message.to_owned()));
    }
    let parsed = |text: &Spanned<String>, what: &str| {
        let fault = |message| (text.span(), format!("deliver: {what}: {message}"));
        Template::parse(text.get_ref()).map_err(fault)
    };
    let (url_span, url) = (url.span(), parsed(&url, "url")?);
    check_url(&url).map_err(|message| (url_span, format!("deliver: url: {message}")))?;
    let secret = match secret {
        Some(text) => {
            let secret = parsed(&text, "secret")?;
            if !secret.is_variable() {
                let message = "deliver: secret: it must be a variable, as in ${CRM_SECRET}: declarations are stored and served";
                return Err((text.span(), message.to_owned()));
            }
            Some(secret)
        }
        None => None,
    };
    let delay = delay.map(|delay| {
        let span = delay.span();
        self::delay(delay.into_inner(), columns).map_err(|message| (span, message))
    });
    let concurrency = match concurrency {
        Some(limit) if limit.get_ref().get() > MAX_CONCURRENCY => {
            let message = format!("deliver: concurrency: the maximum is {MAX_CONCURRENCY}");
            return Err((limit.span(), message));
        }
        Some(limit) => limit.into_inner(),
        None => CONCURRENCY,
    };
    Ok(Destination {
        id: 0,
        name: name.into_inner(),
        url,
        secret,
        on: self::on(on, has_deletes)?,
        delay: delay.transpose()?,
        concurrency,
        rate,
    })
}

/// A URL that begins with a variable is checked when the variable has a value.
fn check_url(url: &Template) -> Result<(), &'static str> {
    let Some(beginning) = url.beginning() else {
        return if url.is_empty() { Err("it is empty") } else { Ok(()) };
    };
    let text = url.to_string();
    let scheme = ["https://", "http://"].into_iter().find(|scheme| beginning.starts_with(scheme));
    let scheme = scheme.ok_or("it must begin with https:// or http://, or be a variable")?;
    let rest = text.strip_prefix(scheme).unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(
            "it has a user or a password: use a variable, as declarations are stored and served",
        );
    }
    Ok(())
}

fn on(
    declared: Option<Spanned<Vec<ChangeKind>>>,
    has_deletes: bool,
) -> Result<Vec<ChangeKind>, Fault> {
    let Some(declared) = declared else {
        return Ok(ChangeKind::ALL.to_vec());
    };
    let span: Range<usize> = declared.span();
    let mut kinds = declared.into_inner();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.is_empty() {
        let message = "deliver: on: it is empty; there are: inserted, updated, deleted";
        return Err((span, message.to_owned()));
    }
    if kinds.contains(&ChangeKind::Deleted) && !has_deletes {
        let message = "deliver: on: no record of this dataset deletes: declare `deleted`, or leave it out here";
        return Err((span, message.to_owned()));
    }
    Ok(kinds)
}

fn delay(declared: DelayDeclaration, columns: &[Column]) -> Result<Delay, String> {
    let DelayDeclaration { column, unit } = declared;
    let known = columns.iter().find(|known| known.name == column);
    match known.map(|known| known.column_type) {
        Some(Type::Bigint) => Ok(Delay { column, unit }),
        Some(other) => {
            Err(format!("deliver: delay: the column {column} is {other}; allowed: bigint"))
        }
        None => Err(format!("deliver: delay: there is no column {column}")),
    }
}
