//! Rules about manifests: one version, one lint table, one list of dependencies.

use super::{Findings, Rule};
use crate::repo::Repo;

/// What every crate takes from `[workspace.package]`.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license"];
/// Tables that name dependencies; a target's own begin with `target.` and end like these.
const DEPENDENCY_TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];
/// Where a crate that is a workspace of its own chooses them.
const OWN_WORKSPACE_TABLE: &str = "workspace.dependencies";

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "inherited-package",
        why: "one version, edition and licence for all crates",
        check: inherited_package,
    },
    Rule { name: "inherited-lints", why: "one lint table, in the root manifest", check: inherited_lints },
    Rule {
        name: "inherited-dependency",
        why: "versions and features are chosen once, in the root manifest",
        check: inherited_dependency,
    },
    Rule { name: "forbid-unsafe", why: "the whole workspace is safe code", check: forbid_unsafe },
];

fn inherited_package(repo: &Repo, findings: &mut Findings) {
    for each in &repo.crates {
        for key in INHERITED {
            let dotted = each.manifest.says("package", &format!("{key}.workspace"), "true");
            let inline = each.manifest.says("package", key, "{ workspace = true }");
            if !dotted && !inline {
                findings.add(&each.file("Cargo.toml"), 0, format!("`{key}.workspace = true` is missing"));
            }
        }
    }
}

fn inherited_lints(repo: &Repo, findings: &mut Findings) {
    for each in repo.crates.iter().filter(|each| !each.manifest.says("lints", "workspace", "true")) {
        findings.add(&each.file("Cargo.toml"), 0, "`[lints] workspace = true` is missing".to_owned());
    }
}

fn inherited_dependency(repo: &Repo, findings: &mut Findings) {
    for each in &repo.crates {
        for entry in each.manifest.entries.iter().filter(|entry| entry.table != OWN_WORKSPACE_TABLE) {
            let table = entry.table.rsplit('.').next().unwrap_or_default();
            let inherits = entry.key.ends_with(".workspace") || entry.value.contains("workspace = true");
            if DEPENDENCY_TABLES.contains(&table) && !inherits {
                let message = format!("`{}` is not `{{ workspace = true }}`", entry.key);
                findings.add(&each.file("Cargo.toml"), entry.line, message);
            } else if let Some((_, name)) = entry.table.rsplit_once("dependencies.")
                && entry.key == "version"
            {
                findings.add(
                    &each.file("Cargo.toml"),
                    entry.line,
                    format!("`{name}` is not `{{ workspace = true }}`"),
                );
            }
        }
    }
}

fn forbid_unsafe(repo: &Repo, findings: &mut Findings) {
    let Some(text) = repo.texts.get("Cargo.toml") else {
        findings.add("Cargo.toml", 0, "the root manifest is missing".to_owned());
        return;
    };
    if !crate::repo::Manifest::parse(text).says("workspace.lints.rust", "unsafe_code", "\"forbid\"") {
        findings.add(
            "Cargo.toml",
            0,
            "`unsafe_code = \"forbid\"` is missing in `[workspace.lints.rust]`".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    const WHOLE: &str = "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\n\
                         rust-version.workspace = true\nlicense = { workspace = true }\n\n[lints]\nworkspace = true\n";
    const PATH: &str = "crates/a/Cargo.toml";

    #[test]
    fn a_crate_inherits_its_package() {
        assert!(findings("inherited-package", &[(PATH, WHOLE)]).is_empty());
        let own = WHOLE.replace("version.workspace = true\nedition", "version = \"1.0.0\"\nedition");
        assert_eq!(
            findings("inherited-package", &[(PATH, &own)]),
            ["crates/a/Cargo.toml:1: `version.workspace = true` is missing"]
        );
    }

    #[test]
    fn a_crate_inherits_the_lints() {
        assert!(findings("inherited-lints", &[(PATH, WHOLE)]).is_empty());
        let own = WHOLE.replace("[lints]\nworkspace = true\n", "[lints.rust]\nunused = \"allow\"\n");
        assert_eq!(
            findings("inherited-lints", &[(PATH, &own)]),
            ["crates/a/Cargo.toml:1: `[lints] workspace = true` is missing"]
        );
    }

    #[test]
    fn a_crate_inherits_each_dependency() {
        let fine = "[dependencies]\nx = { workspace = true, optional = true }\ny.workspace = true\n\
                    [target.'cfg(unix)'.dependencies]\nz = { workspace = true }\n\
                    [workspace.dependencies]\nx = \"1\"\n[features]\nf = [\"x\"]\n";
        assert!(findings("inherited-dependency", &[(PATH, fine)]).is_empty());
        for own in [
            "[dependencies]\nx = \"1\"\n",
            "[dev-dependencies]\nx = { version = \"1\" }\n",
            "[target.'cfg(unix)'.dependencies]\nx = { path = \"../x\" }\n",
            "[dependencies.x]\nversion = \"1\"\n",
        ] {
            assert_eq!(
                findings("inherited-dependency", &[(PATH, own)]),
                ["crates/a/Cargo.toml:2: `x` is not `{ workspace = true }`"]
            );
        }
    }

    #[test]
    fn the_workspace_forbids_unsafe_code() {
        let root = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n";
        assert!(findings("forbid-unsafe", &[("Cargo.toml", root)]).is_empty());
        let weaker = root.replace("forbid", "deny");
        assert_eq!(findings("forbid-unsafe", &[("Cargo.toml", &weaker)]).len(), 1);
        assert_eq!(findings("forbid-unsafe", &[]).len(), 1);
    }
}
