//! Every property on its corpus.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::{
    collections::BTreeSet,
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use jetline_properties::ALL;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");

fn inputs(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(FUZZ).join("corpus").join(name);
    let inputs = fs::read_dir(folder).unwrap();
    let mut inputs: Vec<_> = inputs.map(|input| input.unwrap().path()).collect();
    inputs.sort_unstable();
    inputs
}

#[test]
fn properties_hold_for_all_of_the_corpus() {
    let mut broken = Vec::new();
    for (name, property) in ALL {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            if panic::catch_unwind(AssertUnwindSafe(|| property(&bytes))).is_err() {
                broken.push(input);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_property_has_a_fuzz_target() {
    let targets = fs::read_dir(Path::new(FUZZ).join("fuzz_targets")).unwrap();
    let targets: BTreeSet<String> = targets
        .map(|target| target.unwrap().path())
        .map(|target| target.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(targets, ALL.map(|(name, _)| name.to_owned()).into());
}
