//! What is rendered: every kustomization that stands for itself, and every component on the base.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

/// A folder to render.
pub(super) struct Kustomization {
    /// What problems are reported under.
    pub(super) name: String,
    pub(super) folder: PathBuf,
}

impl Kustomization {
    /// Whether it is applied as it is: what only an installation can know must be there.
    pub(super) fn is_complete(&self) -> bool {
        self.name.starts_with("overlays/")
    }
}

/// Finds all below `manifests`; what has to be made for it is made in `scratch`.
pub(super) fn find(manifests: &Path, scratch: &Path) -> anyhow::Result<Vec<Kustomization>> {
    let base = manifests.join("base");
    let mut found = Vec::new();
    for folder in subfolders(&manifests.join("overlays"))? {
        let name = format!("overlays/{}", name(&folder));
        found.push(Kustomization { name, folder });
    }
    for component in subfolders(&manifests.join("components"))? {
        let folder = scratch.join(name(&component));
        with_component(&folder, &base, &component)?;
        let name = format!("components/{}", name(&component));
        found.push(Kustomization { name, folder });
    }
    let name = "base".to_owned();
    found.push(Kustomization { name, folder: base });
    Ok(found)
}

/// A kustomization of the base and one component: a component cannot be rendered alone.
fn with_component(folder: &Path, base: &Path, component: &Path) -> anyhow::Result<()> {
    // Kustomize takes other folders by relative paths only.
    let up = "../".repeat(folder.components().count() - 1);
    let relative =
        |path: &Path| format!("{up}{}", path.display().to_string().trim_start_matches('/'));
    // Without a namespace of the whole, what a component adds would be in none.
    let text = format!(
        "namespace: jetline\nresources: ['{}']\ncomponents: ['{}']\n",
        relative(base),
        relative(component)
    );
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(folder.join("kustomization.yaml"), text))
        .with_context(|| format!("cannot write {}", folder.display()))
}

fn subfolders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot list {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.join("kustomization.yaml").is_file() {
            found.push(path);
        }
    }
    ensure!(
        !found.is_empty(),
        "no kustomizations in {}",
        folder.display()
    );
    found.sort();
    Ok(found)
}

fn name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_rendered_on_the_base() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for folder in ["base", "overlays/shop", "components/keda"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("kustomization.yaml"), "").unwrap();
        }
        let found = find(&root, &root.join("scratch")).unwrap();
        let names: Vec<_> = found.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, ["overlays/shop", "components/keda", "base"]);
        assert!(found[0].is_complete() && !found[1].is_complete());

        let text = fs::read_to_string(found[1].folder.join("kustomization.yaml")).unwrap();
        let paths = text.split('\'').skip(1).step_by(2);
        let places = paths.map(|path| found[1].folder.join(path).canonicalize().unwrap());
        assert_eq!(
            places.collect::<Vec<_>>(),
            [root.join("base"), root.join("components/keda")]
        );
    }
}
