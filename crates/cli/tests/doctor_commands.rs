//! The doctor's commands as an operator types them, against a running server: Bowline, or the program that
//! `DOCTOR_ETCD` names.

use harness::{Kind, Server};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NAME: &str = "kyverno-resource-validating-webhook-cfg";
const KEY: &str = "/registry/validatingwebhookconfigurations/kyverno-resource-validating-webhook-cfg";
const QUOTA_BYTES: usize = 16 << 20;

/// A server and a folder for undo files.
struct Night {
    server: Server,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    client: client::Client,
}

impl Night {
    fn new(flags: &[&str]) -> Night {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let etcd = std::env::var_os("DOCTOR_ETCD").map(PathBuf::from);
        let (kind, binary) = match &etcd {
            Some(etcd) => (Kind::Etcd, etcd.as_path()),
            None => (Kind::Bowline, Path::new(env!("CARGO_BIN_EXE_bowline"))),
        };
        let mut server = Server::new(kind, binary, folder.path(), flags);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(server.start());
        let options = client::Options {
            endpoints: vec![server.url()],
            timeout: std::time::Duration::from_secs(10),
            ..client::Options::default()
        };
        let client = runtime.block_on(client::Client::connect(&options)).expect("it answers");
        Night { server, folder, runtime, client }
    }

    fn put(&self, key: &str, value: &[u8]) -> Result<(), client::Error> {
        let request = client::pb::PutRequest {
            key: key.as_bytes().to_vec().into(),
            value: value.to_vec().into(),
            ..Default::default()
        };
        self.runtime.block_on(self.client.put(request)).map(|_| ())
    }

    /// Value and revision.
    fn get(&self, key: &str) -> Option<(Vec<u8>, i64)> {
        let found = self.runtime.block_on(self.client.get(key.as_bytes())).expect("it answers");
        found.map(|entry| (entry.value.to_vec(), entry.mod_revision))
    }

    fn doctor(&self, line: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.arg("doctor").args(line).args(["--endpoints", &self.server.url()]);
        if line.contains(&"--yes") && line[0] == "webhooks" {
            command.arg("--undo-dir").arg(self.folder.path());
        }
        command.env_remove("ETCDCTL_ENDPOINTS").output().expect("it runs")
    }

    /// Text on standard output, of a command that ends with this code.
    fn says(&self, line: &[&str], code: i32) -> String {
        let output = self.doctor(line);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{line:?}\n{out}\n{err}");
        format!("{out}{err}")
    }

    fn files(&self, begin: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder.path()).expect("the folder is there");
        let files = files.filter_map(|file| Some(file.ok()?.path()));
        let is_meant = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin));
        let mut files: Vec<PathBuf> = files.filter(is_meant).collect();
        files.sort();
        files
    }
}

fn webhook() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME, "ofTheFuture": {"a": [1, 2]}},
        "webhooks": [{
            "name": "validate.kyverno.svc-fail",
            "clientConfig": {"service": {"namespace": "kyverno", "name": "kyverno-svc"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}],
            "failurePolicy": "Fail",
        }],
    })
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128).expect("short");
    [&[number << 3 | 2, length], content].concat()
}

/// The same in protobuf, with a field that nobody knows.
fn webhook_protobuf() -> Vec<u8> {
    let star = |number| field(number, b"*");
    let rule = field(2, &[star(1), star(2), star(3)].concat());
    let service = field(1, &[field(1, b"kyverno"), field(2, b"kyverno-svc")].concat());
    let webhook = [
        field(1, b"validate.kyverno.svc-fail"),
        field(2, &service),
        field(3, &[field(1, b"CREATE"), rule].concat()),
        field(4, b"Fail"),
        field(15, b"unknown"),
    ];
    let object = [field(1, &field(1, NAME.as_bytes())), field(2, &webhook.concat())].concat();
    let types = [field(1, b"admissionregistration.k8s.io/v1"), field(2, b"ValidatingWebhookConfiguration")].concat();
    let object = [&[0x12, (object.len() & 0x7f) as u8 | 0x80, (object.len() >> 7) as u8][..], &object].concat();
    [b"k8s\0".to_vec(), field(1, &types), object].concat()
}

#[test]
fn the_night_of_the_webhook_is_found_lifted_and_undone() {
    let night = Night::new(&[]);
    for value in [webhook().to_string().into_bytes(), webhook_protobuf()] {
        night.put(KEY, &value).expect("written");
        let (_, revision) = night.get(KEY).expect("it is there");
        let look = ["--from", "1.32", "--target", "1.34"];
        let found = night.says(&look, 3);
        assert!(
            found.contains("BLOCKING  webhook kyverno-resource-validating-webhook-cfg/validate.kyverno.svc-fail"),
            "{found}"
        );
        let report: Value =
            serde_json::from_str(&night.says(&["-o", "json", "--target", "1.34"], 3)).expect("the report is JSON");
        assert_eq!((&report["schema"], &report["outcome"]), (&json!(1), &json!("blocking")));
        assert_eq!(report["findings"][0]["id"], "webhook-blocks-boot");
        assert!(night.says(&["webhooks", "list", "--target", "1.34"], 0).contains("BLOCKS THE BOOT"));
        assert!(night.says(&["webhooks", "explain", NAME, "--target", "1.34"], 3).contains("servicecidrs"));

        for change in [&["patch", NAME, "--target", "1.34"][..], &["disable", NAME], &["delete", NAME]] {
            let dry = [&["webhooks"], change].concat();
            assert!(night.says(&dry, 0).contains("nothing was changed"));
            assert_eq!(night.get(KEY).expect("it is there"), (value.clone(), night.get(KEY).expect("still").1));
            night.says(&[&dry[..], &["--yes"]].concat(), 0);
            assert_ne!(night.get(KEY).map(|(now, _)| now).as_ref(), Some(&value));
            let after = night.doctor(&look);
            assert!(!String::from_utf8_lossy(&after.stdout).contains("BLOCKING"), "{change:?}");
            let file = night.files("bowline-undo").pop().expect("an undo file");
            let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let record: Value = serde_json::from_slice(&std::fs::read(&file).expect("it can be read")).expect("JSON");
            let id = record["id"].as_str().expect("an id");
            assert!(night.get(&format!("/bowline.io/doctor/undo/{id}")).is_some());
            let by = if change[0] == "disable" { id.to_owned() } else { file.to_string_lossy().into_owned() };
            assert!(night.says(&["webhooks", "undo", &by], 0).contains("nothing was changed"));
            night.says(&["webhooks", "undo", &by, "--yes"], 0);
            assert_eq!(night.get(KEY).expect("it is back").0, value, "{change:?}");
            let again = night.says(&["webhooks", "undo", &by, "--yes"], 2);
            assert!(again.contains("already as it was"), "{again}");
        }
        assert!(night.get(KEY).expect("it is there").1 > revision);
    }
    let audit = std::fs::read_to_string(&night.files("bowline-doctor-audit")[0]).expect("it can be read");
    assert_eq!(audit.lines().count(), 2 * 3 * 2);
}

#[test]
fn what_somebody_else_changed_is_left_alone_unless_forced() {
    let night = Night::new(&[]);
    let value = webhook().to_string().into_bytes();
    night.put(KEY, &value).expect("written");
    night.says(&["webhooks", "disable", NAME, "--yes"], 0);
    let file = night.files("bowline-undo").pop().expect("an undo file");
    let file = file.to_string_lossy();
    night.put(KEY, b"{}").expect("written");
    let refused = night.says(&["webhooks", "undo", &file, "--yes"], 2);
    assert!(refused.contains("was changed again"), "{refused}");
    assert_eq!(night.get(KEY).expect("it is there").0, b"{}");
    night.says(&["webhooks", "undo", &file, "--yes", "--force"], 0);
    assert_eq!(night.get(KEY).expect("it is there").0, value);
}

#[test]
fn what_cannot_be_changed_is_refused_with_the_way_out() {
    let night = Night::new(&[]);
    let wrong = "/registry/admissionregistration.k8s.io/validatingwebhookconfigurations/other";
    night.put(wrong, b"{}").expect("written");
    night.put(KEY, b"k8s:enc:aescbc:v1:key1:secret").expect("written");
    assert!(night.says(&[], 2).contains("Encrypted by aescbc:v1"));
    let refused = night.says(&["webhooks", "disable", NAME, "--yes"], 2);
    assert!(refused.contains("--disable-admission-plugins"), "{refused}");
    let unknown = night.says(&["webhooks", "delete", "other", "--yes"], 2);
    assert!(unknown.contains("deleting it deletes nothing"), "{unknown}");
    night.says(&["webhooks", "delete", NAME, "--yes"], 0);
    assert_eq!(night.get(KEY), None);
    night.put(KEY, webhook().to_string().as_bytes()).expect("written");
    let no_webhook = night.says(&["webhooks", "disable", &format!("{NAME}/none"), "--yes"], 2);
    assert!(no_webhook.contains("there are validate.kyverno.svc-fail"), "{no_webhook}");
    assert!(night.says(&["--explain", "webhook-blocks-boot"], 0).contains("failurePolicy Fail"));
    night.says(&["--explain", "nothing"], 2);
}

#[test]
fn two_configurations_of_one_name_are_freed_one_by_one_by_the_reports_own_commands() {
    let night = Night::new(&[]);
    let mutating = KEY.replace("validating", "mutating").replacen("-mutating-", "-validating-", 1);
    night.put(KEY, webhook().to_string().as_bytes()).expect("written");
    night
        .put(&mutating, webhook().to_string().replace("ValidatingWebhook", "MutatingWebhook").as_bytes())
        .expect("written");
    let refused = night.says(&["webhooks", "disable", NAME, "--yes"], 2);
    assert!(refused.contains(&format!("{KEY} and {mutating}: say which one by --kind")), "{refused}");
    let look = ["-o", "json", "--target", "1.34"];
    for blocking in [2, 1] {
        let report: Value = serde_json::from_str(&night.says(&look, 3)).expect("the report is JSON");
        let findings = report["findings"].as_array().expect("a list");
        let blocks: Vec<&Value> = findings.iter().filter(|finding| finding["id"] == "webhook-blocks-boot").collect();
        assert_eq!(blocks.len(), blocking);
        // As it is printed, without a word about the release that was asked for.
        let command = blocks[0]["fix"][0].as_str().expect("a command");
        assert!(command.contains(" --kind "), "{command}");
        let words: Vec<&str> = command.split(' ').skip(2).collect();
        night.says(&words, 0);
    }
    night.says(&["--target", "1.34"], 1);
    let list: Value = serde_json::from_str(&night.says(&["webhooks", "list", "-o", "json"], 0)).expect("JSON");
    let kinds: Vec<&Value> = list["webhooks"].as_array().expect("a list").iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, ["validating", "mutating"]);
}

#[test]
fn a_policy_that_blocks_is_freed_by_its_binding() {
    let night = Night::new(&[]);
    let object = |kind: &str, spec: Value| {
        let kind = format!("ValidatingAdmissionPolicy{kind}");
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "no"}, "spec": spec})
    };
    let rules = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]);
    let policy = json!({"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "false"}]});
    let binding = json!({"policyName": "no", "validationActions": ["Deny"]});
    let put = |key, object: Value| night.put(key, object.to_string().as_bytes()).expect("written");
    put("/registry/validatingadmissionpolicies/no", object("", policy));
    put("/registry/validatingadmissionpolicybindings/no", object("Binding", binding));
    let found = night.says(&[], 3);
    assert!(found.contains("webhooks delete no --kind validating-policy-binding --yes"), "{found}");
    let refused = night.says(&["webhooks", "disable", "no", "--kind", "validating-policy-binding"], 2);
    assert!(refused.contains("not a webhook configuration"), "{refused}");
    night.says(&["webhooks", "delete", "no", "--kind", "validating-policy-binding", "--yes"], 0);
    night.says(&[], 0);
}

#[test]
fn what_is_not_a_running_server_is_looked_at_and_left_alone() {
    let night = Night::new(&[]);
    // Not clean: nothing was seen.
    assert!(night.says(&["--prefix", "/kubernetes.io"], 2).contains("no Kubernetes cluster below /kubernetes.io"));
    let file = night.folder.path().join("webhook.json");
    std::fs::write(&file, webhook().to_string()).expect("written");
    let file = file.to_str().expect("text");
    let offline = |line: &[&str], code| {
        let output = Command::new(env!("CARGO_BIN_EXE_bowline")).arg("doctor").args(line).output().expect("it runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line:?} {text}");
        text
    };
    assert!(offline(&["webhooks", "list", "--manifests", file], 0).contains("BLOCKS THE BOOT"));
    let explained = offline(&["webhooks", "explain", NAME, "--manifests", file, "--target", "1.34"], 3);
    assert!(
        explained.contains("  BLOCKS BOOT     CREATE networking.k8s.io/v1 servicecidrs \"kubernetes\" by"),
        "{explained}"
    );
    assert!(explained.contains("  safe            UPDATE "), "{explained}");
    let refused = offline(&["webhooks", "disable", NAME, "--manifests", file, "--yes"], 2);
    assert!(refused.starts_with("--manifests is only read: changes are made on a running server"), "{refused}");
}

#[test]
fn facts_that_were_saved_are_judged_the_same_elsewhere() {
    let night = Night::new(&[]);
    night.put(KEY, webhook().to_string().as_bytes()).expect("written");
    let file = night.folder.path().join("night.json");
    let file = file.to_str().expect("text");
    let there = night.says(&["--target", "1.34", "--save-facts", file], 3);
    let output =
        Command::new(env!("CARGO_BIN_EXE_bowline")).args(["doctor", "--target", "1.34", "--facts", file]).output();
    assert_eq!(String::from_utf8_lossy(&output.expect("it runs").stdout), there);
    std::fs::write(file, "{\"version\":9}").expect("written");
    assert!(night.says(&["--facts", file], 2).starts_with("read facts "));
}

#[test]
fn a_full_store_is_dug_out() {
    let quota = QUOTA_BYTES.to_string();
    let night = Night::new(&["--quota-backend-bytes", &quota]);
    let report =
        json!({"apiVersion": "reports.kyverno.io/v1", "kind": "EphemeralReport", "filler": "x".repeat(100_000)});
    let report = report.to_string().into_bytes();
    night.put("/registry/pods/a/kept", b"{}").expect("written");
    let refused = (0..2 * QUOTA_BYTES / report.len())
        .find_map(|n| night.put(&format!("/registry/reports.kyverno.io/ephemeralreports/a/r{n}"), &report).err());
    assert_eq!(refused.expect("the quota is met").kind(), client::ErrorKind::NoSpace);
    assert!(night.says(&[], 3).contains("the NOSPACE alarm is up"));
    assert!(night.says(&["space"], 3).contains("reports.kyverno.io/ephemeralreports"));
    assert!(night.says(&["space", "free"], 0).contains("nothing was deleted"));
    let freed = night.says(&["space", "free", "--what", "events,ephemeral-reports", "--yes"], 0);
    assert!(freed.contains("0 were changed meanwhile"), "{freed}");
    night.says(&["space", "sequence", "--yes"], 0);
    // Bowline needs some two seconds until what was deleted is history no more.
    let started = std::time::Instant::now();
    while let Err(error) = night.put("/registry/pods/a/new", &report) {
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "{error}");
    }
    night.says(&["space"], 0);
    assert!(night.get("/registry/pods/a/kept").is_some());
}
