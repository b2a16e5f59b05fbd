//! Asks cargo for the crates of the workspace, and for what rustdoc says of them.
//!
//! Rustdoc writes JSON only for those who allow unstable options. Allowing them for the whole build would make cargo
//! build all dependencies anew, so this program stands in for rustdoc, allows them there, and calls the real one; it
//! also sends the output to a folder of its own, as cargo has one folder for all sets of features.
#![expect(clippy::indexing_slicing, reason = "a member that JSON lacks is null")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::{ALL_FEATURES, Build};

/// Where the stand-in writes; set means that this process is the stand-in.
const OUT: &str = "CONTRACT_RUSTDOC_OUT";
/// The real rustdoc.
const REAL: &str = "CONTRACT_RUSTDOC";

/// The crates of the workspace.
pub(crate) struct Workspace {
    packages: Vec<Package>,
    target: PathBuf,
    /// What was asked for before.
    documented: RefCell<BTreeMap<Build, Vec<PathBuf>>>,
}

pub(crate) struct Package {
    pub(crate) name: String,
    /// As the crate is called in code.
    pub(crate) library: String,
    features: Vec<String>,
}

impl Workspace {
    pub(crate) fn read() -> Result<Self, String> {
        let output = cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output();
        let output = output.map_err(|error| format!("cannot run cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let json: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let packages = json["packages"].as_array().ok_or("cargo metadata without packages")?;
        let packages = packages.iter().map(|package| Package {
            name: package["name"].as_str().unwrap_or_default().to_owned(),
            library: package["name"].as_str().unwrap_or_default().replace('-', "_"),
            features: package["features"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect(),
        });
        let target = json["target_directory"].as_str().ok_or("cargo metadata without a target directory")?;
        Ok(Workspace {
            packages: packages.collect(),
            target: PathBuf::from(target),
            documented: RefCell::default(),
        })
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Has rustdoc describe the crates of a build, and gives the files.
    pub(crate) fn document(&self, build: Build) -> Result<Vec<PathBuf>, String> {
        if let Some(files) = self.documented.borrow().get(&build) {
            return Ok(files.clone());
        }
        let packages: Vec<&Package> = build.packages().iter().filter_map(|name| self.package(name)).collect();
        let mut features = Vec::new();
        if build == Build::All {
            for package in &packages {
                let has = |feature: &&&str| package.features.iter().any(|other| other == **feature);
                let own = ALL_FEATURES.iter().filter(has);
                features.extend(own.map(|feature| format!("{}/{feature}", package.name)));
            }
        }
        let out = self.target.join("contract").join(format!("{build:?}").to_lowercase());
        let file = |package: &&Package| out.join(format!("{}.json", package.library));
        let files: Vec<PathBuf> = packages.iter().map(file).collect();
        rustdoc(&packages, &features, &out, false)?;
        if files.iter().any(|file| !file.exists()) {
            // Cargo takes it for done, though somebody has removed the files.
            rustdoc(&packages, &features, &out, true)?;
        }
        self.documented.borrow_mut().insert(build, files.clone());
        Ok(files)
    }
}

fn rustdoc(packages: &[&Package], features: &[String], out: &Path, again: bool) -> Result<(), String> {
    let stand_in = std::env::current_exe().map_err(|error| format!("cannot find myself: {error}"))?;
    let real = std::env::var("RUSTDOC").unwrap_or_else(|_| "rustdoc".to_owned());
    let mut flags = "-Z unstable-options --output-format json --cap-lints allow".to_owned();
    // Other flags make cargo run rustdoc again.
    flags.push_str(if again { " --cfg contract_again" } else { "" });
    // Different outputs are different runs to cargo.
    flags.push_str(&format!(" --cfg contract_out=\"{}\"", out.file_name().unwrap_or_default().display()));
    let mut command = cargo();
    command.args(["doc", "--quiet", "--no-deps", "--lib"]);
    packages.iter().for_each(|package| {
        command.args(["--package", &package.name]);
    });
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    command.env("RUSTDOCFLAGS", flags).env("RUSTDOC", stand_in).env(REAL, real).env(OUT, out);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("rustdoc failed, {status}")),
        Err(error) => Err(format!("cannot run cargo: {error}")),
    }
}

fn cargo() -> Command {
    Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}

/// Calls the real rustdoc, if cargo has called this process as one.
pub(crate) fn as_rustdoc() -> Option<ExitCode> {
    let out = std::env::var_os(OUT)?;
    let real = std::env::var_os(REAL).unwrap_or_else(|| "rustdoc".into());
    let mut command = Command::new(real);
    command.env("RUSTC_BOOTSTRAP", "1");
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "-o" || argument == "--out-dir" {
            arguments.next();
            command.arg("-o").arg(&out);
        } else {
            command.arg(argument);
        }
    }
    match command.status() {
        Ok(status) if status.success() => Some(ExitCode::SUCCESS),
        Ok(_) => Some(ExitCode::FAILURE),
        Err(error) => {
            eprintln!("contract: cannot run rustdoc: {error}");
            Some(ExitCode::FAILURE)
        }
    }
}
