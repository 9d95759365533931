//! A benchmark's JSON as Markdown: for the terminal and for the document alike.

use std::collections::BTreeSet;

use serde_json::Value;

use super::figures::Spread;

/// The longest line of a document that is not a table.
const WIDTH: usize = 120;

/// The conditions, then what came out: rates and other figures, CPU, memory.
pub(super) fn markdown(report: &Value) -> String {
    let cases = array(report, "cases");
    let unit = report["unit"].as_str().unwrap_or_default();
    let mut parts = vec![conditions(report)];
    parts.extend([
        results(cases, unit),
        cpu(cases, "CPU, s", "cpu_seconds"),
        cpu(cases, &format!("CPU, µs a {unit}"), "cpu_micros_each"),
        memory(cases),
    ]);
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn conditions(report: &Value) -> String {
    let said = array(report, "conditions").iter().filter_map(Value::as_str);
    let environment = environment(&report["environment"]);
    let all = said.chain(std::iter::once(environment.as_str()));
    all.map(item).collect()
}

fn environment(environment: &Value) -> String {
    let text = |name: &str| environment[name].as_str().unwrap_or("unknown");
    let (commit, servers, machine) = (text("commit"), text("servers"), text("machine"));
    format!("Commit {commit}; {servers}; {machine}")
}

/// A sentence as an item of a list, in lines as long as a document's.
fn item(sentence: &str) -> String {
    let mut item = "-".to_owned();
    let mut columns = item.len();
    for word in sentence.split(' ') {
        let width = word.chars().count();
        if columns + 1 + width >= WIDTH {
            item.push_str("\n ");
            columns = 1;
        }
        item.push(' ');
        item.push_str(word);
        columns += 1 + width;
    }
    item + ".\n"
}

fn results(cases: &[Value], unit: &str) -> String {
    let figures = names(cases, "figures");
    let rate = format!("{unit}s/s");
    let mut heading = vec!["", "seconds", rate.as_str()];
    let compared = cases.iter().any(|case| case.get("beside").is_some());
    if compared {
        heading.push("times as fast");
    }
    heading.extend(figures.iter().copied());
    let row = |case: &Value| {
        let mut row = vec![name(case), cell(&case["seconds"]), cell(&case["rate"])];
        if compared {
            row.push(beside(case));
        }
        row.extend(figures.iter().map(|name| cell(&case["figures"][*name])));
        row
    };
    table(&heading, cases.iter().map(row).collect())
}

fn beside(case: &Value) -> String {
    let yardstick = case["beside"]["case"].as_str();
    yardstick.map_or_else(String::new, |name| {
        format!("{} as {name}", cell(&case["beside"]["times_as_fast"]))
    })
}

fn cpu(cases: &[Value], title: &str, figure: &str) -> String {
    by_process(cases, title, true, |process| {
        Some(Spread::from_json(&process[figure])?.median)
    })
}

/// The highest of all runs: what must be there.
fn memory(cases: &[Value]) -> String {
    by_process(cases, "peak memory, MB", false, |process| {
        Some(Spread::from_json(&process["peak_mb"])?.max)
    })
}

fn by_process(
    cases: &[Value],
    title: &str,
    with_sum: bool,
    figure: impl Fn(&Value) -> Option<f64>,
) -> String {
    let processes = names(cases, "processes");
    let mut heading = vec![title];
    heading.extend(processes.iter().copied());
    if with_sum {
        heading.push("in all");
    }
    let row = |case: &Value| {
        let figures = processes.iter().map(|name| &case["processes"][*name]);
        let figures: Vec<Option<f64>> = figures.map(&figure).collect();
        // A case that did nothing has nothing to be divided by.
        figures.iter().any(Option::is_some).then(|| {
            let shown = figures.iter().map(|at| at.map_or_else(String::new, short));
            let sum = with_sum.then(|| short(figures.iter().flatten().sum()));
            let cells = std::iter::once(name(case)).chain(shown).chain(sum);
            cells.collect()
        })
    };
    table(&heading, cases.iter().filter_map(row).collect())
}

/// Lines up in a terminal too.
pub(super) fn table(heading: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let rule = vec!["---".to_owned(); heading.len()];
    let heading = heading.iter().map(ToString::to_string).collect();
    let rows: Vec<Vec<String>> = [heading, rule].into_iter().chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate();
        let padded = cells.map(|(at, cell)| format!("| {cell:<0$} ", width(at)));
        padded.collect::<String>() + "|\n"
    };
    rows.iter().map(line).collect()
}

/// The names of all figures or processes that any case has.
fn names<'a>(cases: &'a [Value], of: &str) -> BTreeSet<&'a str> {
    let objects = cases.iter().filter_map(|case| case.get(of)?.as_object());
    objects
        .flat_map(|object| object.keys().map(String::as_str))
        .collect()
}

fn name(case: &Value) -> String {
    case["name"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The median, and the range if there is one.
fn cell(spread: &Value) -> String {
    match Spread::from_json(spread) {
        None => String::new(),
        Some(Spread { median, min, max }) if short(min) == short(max) => short(median),
        Some(Spread { median, min, max }) => {
            format!("{} ({}–{})", short(median), short(min), short(max))
        }
    }
}

/// Three digits or more, unless it is a small whole number; thousands apart.
pub(super) fn short(figure: f64) -> String {
    let decimals = match figure.abs() {
        f if f >= 99.95 => 0,
        f if f >= 9.995 => 1,
        f if f.fract() == 0.0 => 0,
        _ => 2,
    };
    let text = format!("{figure:.decimals$}");
    if decimals > 0 {
        return text;
    }
    let digits = text.len();
    let apart = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    text.chars().enumerate().flat_map(apart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::example;

    #[test]
    fn figures_are_as_long_as_they_are_worth() {
        assert_eq!(short(84_126.4), "84,126");
        assert_eq!(short(1_000_000.0), "1,000,000");
        assert_eq!(short(107.6), "108");
        assert_eq!(short(10.84), "10.8");
        assert_eq!(short(0.794), "0.79");
        assert_eq!(short(0.0), "0");
        assert_eq!(short(4.0), "4");
    }

    #[test]
    fn range_is_shown_where_there_is_one() {
        let spread = |figures: [f64; 2]| cell(&Spread::of(figures).unwrap().json());
        assert_eq!(spread([1.0, 3.0]), "2 (1–3)");
        assert_eq!(spread([4.5, 4.5]), "4.50");
        assert_eq!(cell(&Value::Null), "");
    }

    #[test]
    fn report_shows_rates_cpu_and_memory_of_every_case() {
        let text = markdown(&example());
        for expected in [
            "- on paper.\n",
            "- Commit abc; ",
            "lines/s",
            "2 (1–4) as psql",
            "CPU, s",
            "CPU, µs a line",
            "peak memory, MB",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert_eq!(text.matches("| psql ").count(), 4, "{text}");
    }

    #[test]
    fn long_sentences_are_broken_between_words() {
        assert_eq!(item("on paper"), "- on paper.\n");
        let words = vec!["nine-char"; 25].join(" ");
        let item = item(&words);
        assert_eq!(item.split_whitespace().count(), 26);
        let widths: Vec<usize> = item.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [111, 111, 32]);
        assert!(item.contains("\n  nine-char"));
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["a".to_owned(), "µ".to_owned()],
            vec!["bbbb".to_owned()],
        ];
        let expected = "|      | long |\n| ---  | ---  |\n| a    | µ    |\n| bbbb |\n";
        assert_eq!(table(&["", "long"], rows), expected);
    }
}
