//! Feature gates: switches that etcd groups under one flag, `--feature-gates=A=true,B=false`.

use crate::flags::value::parse_bool;

/// One `name=bool` of the flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateChoice {
    pub name: &'static str,
    pub on: bool,
}

#[derive(Debug)]
pub struct Gate {
    pub name: &'static str,
    pub stage: Stage,
    pub default: bool,
    pub effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Alpha,
    Beta,
}

impl Stage {
    /// As help and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
        }
    }
}

/// What switching a gate does in this release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing, for the reason given.
    Accepted(&'static str),
    /// Switching it on is refused, for the reason given.
    NotYet(&'static str),
    /// Switches all gates of a stage that are not named themselves.
    All(Stage),
}

const NOBODY_TO_COMPARE: &str = "a single member has nobody to compare its content with";

/// In alphabetical order, as help lists them.
pub const GATES: &[Gate] = &[
    Gate { name: "AllAlpha", stage: Stage::Alpha, default: false, effect: Effect::All(Stage::Alpha) },
    Gate { name: "AllBeta", stage: Stage::Beta, default: false, effect: Effect::All(Stage::Beta) },
    alpha("CompactHashCheck", Effect::Accepted(NOBODY_TO_COMPARE)),
    beta("FastLeaseKeepAlive", Effect::Accepted("a keep-alive never waits for the log here")),
    alpha("InitialCorruptCheck", Effect::Accepted(NOBODY_TO_COMPARE)),
    alpha("LeaseCheckpoint", Effect::Accepted("what is left of every lease is always checkpointed")),
    alpha("LeaseCheckpointPersist", Effect::Accepted("checkpoints of leases are always durable")),
    alpha("PriorityRequest", Effect::NotYet("lease revocations have no priority under overload yet")),
    alpha("SetMemberLocalAddr", Effect::Accepted("a single member talks to no peer")),
    alpha("StopGRPCServiceOnDefrag", Effect::Accepted("defragmentation is answered at once and stops nothing")),
    beta("TxnModeWriteWithSharedBuffer", Effect::Accepted("there is no write buffer to share")),
];

const fn alpha(name: &'static str, effect: Effect) -> Gate {
    Gate { name, stage: Stage::Alpha, default: false, effect }
}

const fn beta(name: &'static str, effect: Effect) -> Gate {
    Gate { name, stage: Stage::Beta, default: true, effect }
}

/// Reads the flag's text; fails with etcd's words.
pub fn parse(text: &str) -> Result<Vec<GateChoice>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs.map(parse_pair).collect()
}

fn parse_pair(pair: &str) -> Result<GateChoice, String> {
    let Some((name, value)) = pair.split_once('=') else {
        return Err(format!("missing bool value for {pair}"));
    };
    let (name, value) = (name.trim(), value.trim());
    let on = parse_bool(value).ok_or_else(|| {
        format!("invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax")
    })?;
    let gate = GATES.iter().find(|gate| gate.name == name);
    gate.map(|gate| GateChoice { name: gate.name, on }).ok_or_else(|| format!("unrecognized feature gate: {name}"))
}

/// Whether `gate` is on after `choices`: the last choice that names it, else one that names its whole stage, else its
/// default.
pub fn is_on(gate: &Gate, choices: &[GateChoice]) -> bool {
    let named = |name: &str| choices.iter().rev().find(|choice| choice.name == name).map(|choice| choice.on);
    let stage = match gate.stage {
        Stage::Alpha => "AllAlpha",
        Stage::Beta => "AllBeta",
    };
    named(gate.name).or_else(|| named(stage)).unwrap_or(gate.default)
}

/// Every gate with its state after `choices`.
pub fn states(choices: &[GateChoice]) -> Vec<(&'static Gate, bool)> {
    GATES.iter().map(|gate| (gate, is_on(gate, choices))).collect()
}

/// Refuses what this release cannot do.
pub fn check(choices: &[GateChoice]) -> Result<(), String> {
    let on = |name: &str| GATES.iter().any(|gate| gate.name == name && is_on(gate, choices));
    if on("LeaseCheckpointPersist") && !on("LeaseCheckpoint") {
        return Err(
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint".into()
        );
    }
    for gate in GATES {
        if let Effect::NotYet(why) = gate.effect
            && is_on(gate, choices)
        {
            return Err(format!("feature gate {} cannot be enabled: {why}", gate.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        parse(text).and_then(|choices| check(&choices))
    }

    #[test]
    fn what_kubeadm_sets_is_taken() {
        assert_eq!(checked("InitialCorruptCheck=true"), Ok(()));
        assert_eq!(checked(""), Ok(()));
        assert_eq!(checked(" CompactHashCheck=true , FastLeaseKeepAlive=false,"), Ok(()));
    }

    #[test]
    fn complaints_are_etcds() {
        assert_eq!(checked("Foo=true"), Err("unrecognized feature gate: Foo".into()));
        assert_eq!(checked("InitialCorruptCheck"), Err("missing bool value for InitialCorruptCheck".into()));
        let invalid =
            "invalid value of InitialCorruptCheck=maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax";
        assert_eq!(checked("InitialCorruptCheck=maybe"), Err(invalid.into()));
        assert!(checked("LeaseCheckpointPersist=true").is_err());
        assert_eq!(checked("LeaseCheckpoint=true,LeaseCheckpointPersist=true"), Ok(()));
    }

    #[test]
    fn a_stage_switches_what_is_not_named_itself() {
        assert!(checked("AllAlpha=true").is_err_and(|error| error.contains("PriorityRequest")));
        assert_eq!(checked("AllAlpha=true,PriorityRequest=false"), Ok(()));
        assert_eq!(checked("AllBeta=false"), Ok(()));
    }
}
