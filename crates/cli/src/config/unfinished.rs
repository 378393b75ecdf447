//! Flags whose feature is missing: their default is fine, anything else is refused, so that nobody believes in
//! protection or behaviour that is not there. Flags that can have no effect are taken, and who sets them is told; so
//! is, in etcd's words, who sets those that etcd is about to remove.

use crate::flags::{Settings, Status, Value, Warning};

const DEPRECATED: &[(&str, &str)] = &[
    ("max-snapshots", "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8."),
    (
        "v2-deprecation",
        "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring user \
         input.",
    ),
];

pub fn check(settings: &Settings, warnings: &mut Vec<Warning>) -> Result<(), String> {
    for (flag, value, _) in settings.iter() {
        if Value::parse(flag.kind, flag.default).as_ref() == Ok(value) {
            continue;
        }
        match flag.status {
            Status::Works => {}
            Status::NotYet(what) => return Err(format!("--{} cannot be set: {what}", flag.name)),
            Status::Accepted(why) => {
                let field = ("flag", format!("{} ({why})", flag.name));
                warnings.push(Warning { message: "flag has no effect", field });
            }
        }
    }
    for (name, message) in DEPRECATED.iter().filter(|(name, _)| settings.is_set(name)) {
        warnings.push(Warning { message, field: ("flag", (*name).to_owned()) });
    }
    if settings.is_set("enable-grpc-gateway") && settings.bool("enable-grpc-gateway") {
        let message = "the JSON gateway under /v3/ is not there yet; only gRPC is served";
        warnings.push(Warning { message, field: ("flag", "enable-grpc-gateway".to_owned()) });
    }
    Ok(())
}
