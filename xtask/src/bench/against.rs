//! The programs of two directories in turns: how much CPU time a change costs or saves.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;

use super::{
    Bench, Benchmark,
    report::{Run, medians, rows, short, table},
};

/// Measures every benchmark with the programs of both directories, and prints the medians and their ratio.
pub(super) fn compare(
    bench: &Bench,
    other: &Path,
    benchmarks: &[Benchmark],
    turns: usize,
) -> anyhow::Result<()> {
    let programs: [&Path; 2] = [&bench.programs, other];
    let names = programs.map(|programs| programs.display().to_string());
    let sides =
        programs.map(|programs| Bench { programs: programs.to_owned(), runs: 1, ..bench.clone() });
    let mut measured: BTreeMap<String, [Vec<Run>; 2]> = BTreeMap::new();
    for turn in 0..turns {
        for (name, _, measure) in benchmarks {
            // Which of them is first changes: the first one finds the machine in another state.
            for side in [turn % 2, 1 - turn % 2] {
                println!("turn {}: {}", turn + 1, names[side]);
                let cases = measure(&sides[side]);
                for (case, runs) in cases.with_context(|| names[side].clone())?.1 {
                    let case = format!("{name}, {case}");
                    measured.entry(case).or_default()[side].extend(runs);
                }
            }
        }
    }
    let mut table = table(&["", "", &names[0], &names[1], "ratio"]);
    for (case, runs) in &measured {
        let [ours, theirs] = runs.each_ref().map(|runs| rows(&medians(runs), ""));
        let theirs: BTreeMap<_, _> = theirs.into_iter().collect();
        for (what, [ours, ..]) in ours {
            let is_shown = what.ends_with("cpu_micros_each") || what == "rate";
            if let Some([theirs, ..]) = theirs.get(&what).filter(|_| is_shown) {
                let ratio = format!("{:.3}", ours / theirs);
                table.add_row([case, &what, &short(ours), &short(*theirs), &ratio]);
            }
        }
    }
    println!("\nmedians of {turns} turns\n\n{table}");
    Ok(())
}
