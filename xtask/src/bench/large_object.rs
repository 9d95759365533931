//! `large-object`: one object of gigabytes, beside the same lines as four objects.

use super::{
    Bench,
    data::{Data, Kind},
    postgres,
    report::Report,
    services::{self, Job},
    turns::{Side, in_turns},
};

/// A line of the generated files, on average.
const LINE_BYTES: u64 = 545;

pub(super) fn run(bench: &Bench) -> anyhow::Result<Report> {
    let lines = (bench.arguments.gib / LINE_BYTES).max(1);
    let data = |files| {
        Data::get(Kind {
            lines,
            ids: (lines * 4).div_ceil(5),
            files,
            ..bench.kind()
        })
    };
    let (one, four) = (data(1)?, data(4)?);
    let load = |data| {
        let job = Job {
            data,
            prefix: "files",
            writers: bench.arguments.writers.get(),
        };
        services::load(bench, &[job])
    };
    let sides = vec![
        Side::jetline("one object", || load(&one)).beside("four objects"),
        Side::jetline("four objects", || load(&four)),
    ];
    Ok(Report {
        unit: "line",
        conditions: vec![
            format!(
                "{}, and the same lines in 4 files, into an empty table",
                one.describe()
            ),
            bench.services(),
            postgres::describe(),
            bench.turns(),
        ],
        cases: in_turns(bench, sides)?,
    })
}

/// From gibibytes, in whole numbers or fractions.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it lies between 0 and 2^50"
)]
pub(super) fn bytes(gib: &str) -> Result<u64, String> {
    let number: f64 = gib.parse().map_err(|error| format!("{error}"))?;
    if number > 0.0 && number < 1_048_576.0 {
        return Ok((number * 1_073_741_824.0) as u64);
    }
    Err("is to be above 0 and below 1,048,576".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_given_in_gibibytes() {
        assert_eq!(bytes("10"), Ok(10 << 30));
        assert_eq!(bytes("0.5"), Ok(1 << 29));
        for wrong in ["0", "-1", "NaN", "inf", "1 GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
