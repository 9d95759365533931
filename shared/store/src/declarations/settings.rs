//! The files with the declarations of datasets.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use jetline_datasets::{Dataset, DeclarationError, PRODUCTS, RedactionKey, parse};

/// The extension of a declaration.
const EXTENSION: &str = "toml";

/// The dataset that is compiled in.
const BUILT_IN: &str = "products";

/// Where declarations are.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Datasets")]
pub struct DatasetSettings {
    /// The declarations of the datasets: files such as `orders.toml`, whose name is that of the dataset, and directories of
    /// such files, separated by commas. Without any, there is the dataset `products`
    #[arg(long, env, global = true, value_name = "PATH", value_delimiter = ',')]
    pub datasets: Vec<PathBuf>,
}

/// How the values of redacted columns are replaced.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Datasets")]
pub struct RedactionSettings {
    /// The key by which values of redacted columns are hashed: 32 to 64 random bytes, in hexadecimal digits. The same for
    /// all apis and writers
    #[arg(long, env, value_name = "KEY", hide_env_values = true, value_parser = redaction_key)]
    pub redact_key: Option<RedactionKey>,
}

/// A declaration that was read from a file.
#[derive(Clone, Debug)]
pub struct DeclarationFile {
    /// Its dataset.
    pub dataset: Dataset,
    /// Its text.
    pub text: String,
    /// Whether it is the one that is compiled in: it only replaces an earlier one of its dataset.
    pub is_built_in: bool,
}

impl DeclarationFile {
    /// Parses the declaration of the dataset `name`; `file` is for the error.
    pub fn new(name: &str, file: &str, text: &str) -> Result<Self, DeclarationError> {
        Ok(Self { dataset: parse(name, file, text)?, text: text.to_owned(), is_built_in: false })
    }
}

impl DatasetSettings {
    /// Reads the declarations.
    pub fn read(&self) -> anyhow::Result<Vec<DeclarationFile>> {
        if self.datasets.is_empty() {
            let file = DeclarationFile::new(BUILT_IN, "products.toml", PRODUCTS)?;
            return Ok(vec![DeclarationFile { is_built_in: true, ..file }]);
        }
        let mut declared: Vec<DeclarationFile> = Vec::new();
        for path in &self.datasets {
            let files = files(path).with_context(|| format!("cannot read {}", path.display()))?;
            ensure!(!files.is_empty(), "{} has no file that ends in .toml", path.display());
            for file in files {
                let shown = file.display().to_string();
                let name = file.file_stem().unwrap_or_default().to_string_lossy();
                let text = fs::read_to_string(&file);
                let text = text.with_context(|| format!("cannot read {shown}"))?;
                let twice = declared.iter().any(|known| known.dataset.name == name);
                ensure!(!twice, "the dataset {name} is declared twice: the second time in {shown}");
                let mut others = declared.iter().map(|known| &known.dataset.name);
                if let Some(other) = others.find(|other| other.eq_ignore_ascii_case(&name)) {
                    bail!(
                        "{shown}: there is the dataset {other}, from which {name} differs only in case: rename one of them"
                    );
                }
                declared.push(DeclarationFile::new(&name, &shown, &text)?);
            }
        }
        Ok(declared)
    }
}

/// Whether this is a directory with declarations, or one that cannot be read.
#[must_use]
pub fn is_directory_of_declarations(path: &Path) -> bool {
    path.is_dir() && files(path).map_or(true, |files| !files.is_empty())
}

/// Reads a key; an error does not show it.
fn redaction_key(digits: &str) -> Result<RedactionKey, String> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let bytes = digits.as_bytes().chunks(2).map(|pair| byte(pair).filter(|_| pair.len() == 2));
    let bytes = bytes.collect::<Option<Vec<u8>>>().filter(|_| is_hex);
    let key = bytes.and_then(|bytes| RedactionKey::new(&bytes).ok());
    key.ok_or_else(|| {
        "must be 32 to 64 bytes in hexadecimal digits, as `openssl rand -hex 32` prints them"
            .to_owned()
    })
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
