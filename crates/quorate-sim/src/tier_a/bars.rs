//! Quorum arithmetic drawn as text: how far each voter is, as a bar, and what a quorum has reached.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use quorate_core::quorum;

/// Voter sets like `(1=8,2=7,3=5)`, each voter with its position.
fn positions(rest: &[&str]) -> (Vec<BTreeSet<u64>>, BTreeMap<u64, u64>) {
    let mut at = BTreeMap::new();
    let mut configs = Vec::new();
    for group in rest.iter().flat_map(|word| word.split(['(', ')'])).filter(|group| !group.is_empty()) {
        let mut voters = BTreeSet::new();
        for voter in group.split(',') {
            let (id, position) = voter.split_once('=').unwrap_or((voter, ""));
            let id: u64 = id.parse().unwrap();
            voters.insert(id);
            if let Ok(position) = position.parse() {
                at.insert(id, position);
            }
        }
        configs.push(voters);
    }
    (configs, at)
}

/// The bars, set by set, and the greatest position that a majority of every set has reached.
pub fn draw(rest: &[&str]) -> Vec<String> {
    let (configs, at) = positions(rest);
    let mut lines = Vec::new();
    for voters in &configs {
        let majority = quorum::majority(voters.len());
        for id in voters {
            match at.get(id) {
                Some(position) => lines.push(format!("n{id} {} {position}", "█".repeat(*position as usize))),
                None => lines.push(format!("n{id} ?")),
            }
        }
        lines.push(format!("{majority} of {}", voters.len()));
    }
    match quorum::reached(&configs, |id| at.get(id)) {
        Some(Some(position)) => {
            lines.push(format!("   {}┘ {position} is reached", "─".repeat(*position as usize)))
        }
        Some(None) => lines.push("nothing is reached".to_string()),
        None => lines.push("there is nobody to ask".to_string()),
    }
    lines
}

/// Who said yes, as `(1,2,3) yes=1,2`: whether it is enough.
pub fn draw_vote(rest: &[&str]) -> Vec<String> {
    let yes: BTreeSet<u64> = rest
        .iter()
        .find_map(|word| word.strip_prefix("yes="))
        .map(|ids| ids.split(',').filter_map(|id| id.parse().ok()).collect())
        .unwrap_or_default();
    let sets: Vec<&str> = rest.iter().copied().filter(|word| !word.starts_with("yes=")).collect();
    let (configs, _) = positions(&sets);
    let mut lines: Vec<String> = configs
        .iter()
        .map(|voters| {
            let marks: String = voters.iter().map(|id| if yes.contains(id) { '■' } else { '□' }).collect();
            format!("{marks} {} of {}", quorum::majority(voters.len()), voters.len())
        })
        .collect();
    let enough = quorum::is_quorum(&configs, |id| yes.contains(id));
    lines.push(if enough { "enough" } else { "not enough" }.to_string());
    lines
}
