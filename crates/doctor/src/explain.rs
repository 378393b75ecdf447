//! What each rule means, at length: `bowline doctor --explain ID`.

/// The ids of all rules with their texts, in alphabetical order.
pub const RULES: &[(&str, &str)] = &[
    (
        "corrupt-alarm",
        "A member compared hashes and found data that differs. etcd and Bowline refuse writes until somebody looks, because \
         nobody knows which member is right.",
    ),
    (
        "events-without-lease",
        "kube-apiserver attaches a lease to every event, an hour by default (--event-ttl). Events without one were written by \
         something else, or their leases were lost in a restore; they stay for ever.",
    ),
    (
        "fragmented",
        "etcd's file never shrinks: deleted space becomes free pages inside it, and the quota counts the file. Only a \
         defragmentation gives them back, and the member answers nothing while it runs: one member after the other, the leader \
         last.",
    ),
    (
        "ipaddress-missing",
        "Since 1.33 every ClusterIP of a Service has an object IPAddress of its name. At its start the API server makes those that are \
         missing, and ends itself if that does not succeed within 60 seconds. On the first start of 1.33 or later all are missing.",
    ),
    (
        "kyverno-known-leak",
        "This version of Kyverno is known to leave reports behind, in the issue that the finding names.",
    ),
    (
        "leases-without-keys",
        "A client grants leases, attaches nothing, and lets them run out. Kubernetes' own clients do not.",
    ),
    (
        "many-versions",
        "Every change keeps the version before it until compaction. Keys that are rewritten all the time fill the store with \
         history.",
    ),
    (
        "member-unreachable",
        "The member is in the list of members and did not answer within the timeout at any of its client URLs, as seen from \
         here.",
    ),
    (
        "members-differ",
        "HashKV at the same revision, from the same compaction, must be the same everywhere. It is not: one member has other \
         data.",
    ),
    (
        "no-cluster",
        "Below the prefix there is nothing that kube-apiserver keeps. Either it uses another --etcd-prefix, or this is another store, or \
         the store was emptied. A report that says \"clean\" would be about nothing, so it says that it cannot tell.",
    ),
    (
        "no-compaction",
        "kube-apiserver asks for a compaction every five minutes, by a transaction on compact_rev_key. If all API servers are \
         down, or the store refuses that transaction because it is full, history grows without end.",
    ),
    (
        "nospace-alarm",
        "The quota is used up. etcd refuses every write that grows, kube-apiserver's compaction among them, and stays so until \
         somebody compacts, defragments each member and disarms the alarm. Bowline serves what does not grow, and takes the \
         alarm down by itself once deletions or compaction have brought it below 95 %.",
    ),
    (
        "one-resource-dominates",
        "More than half of the bytes belong to one resource. Not wrong in itself: the first place to look.",
    ),
    (
        "orphans",
        "Objects that name owners, none of which is in the store. The garbage collector of kube-controller-manager deletes such \
         objects, so it does not run or does not keep up.",
    ),
    (
        "policy-blocks-boot",
        "A ValidatingAdmissionPolicy or MutatingAdmissionPolicy is evaluated in the API server, so no backend can be missing. It blocks \
         by its content: its rules cover a request that the API server must make before it is ready, a binding denies, and its \
         expressions refuse, fail, or lack their parameters.",
    ),
    (
        "policy-blocks-healing",
        "The policy refuses requests that kubelets, the scheduler or controllers must make for nodes and pods to come back.",
    ),
    (
        "policy-may-block",
        "The policy covers requests of a boot or of healing, and whether it refuses them depends on something that the store does not \
         show: its parameters, the authorizer, or what the objects will contain.",
    ),
    ("quota-near", "More than 80 % of the quota are used. At 100 % the cluster cannot write."),
    (
        "reports-pile-up",
        "Kyverno writes a report for each admission and each scan, and its reports controller should read and delete it within \
         seconds. If that does not run, or is slower, they pile up until the store is full.",
    ),
    (
        "servicecidr-missing",
        "Since 1.33 the API server keeps the range of service addresses in an object ServiceCIDR \"kubernetes\". If it is missing, the \
         start hook start-kubernetes-service-cidr-controller creates it, tries every 100 ms without end, and the API server is not ready \
         before it succeeds. This is how an upgrade from 1.32 does not boot if a webhook refuses the request.",
    ),
    (
        "value-damaged",
        "A value under a key of kube-apiserver can be read neither as protobuf nor as JSON or CBOR. The API server fails on it, too: a \
         list of the resource answers an error, and controllers that list it stop working.",
    ),
    (
        "value-encrypted",
        "Encryption at rest (EncryptionConfiguration) hides values from everybody but kube-apiserver. Some providers bind the key of \
         the store to the value, so that it cannot be moved. Such a value can be deleted and brought back by undo, but not read or edited.",
    ),
    (
        "webhook-behind-itself",
        "The pods behind the webhook's service are created by requests that the webhook must approve. As long as one of them runs, all is \
         well; after all are gone at once, none can be created.",
    ),
    (
        "webhook-blocks-boot",
        "A webhook with failurePolicy Fail matches a request that the API server itself must make before it is ready. If the webhook does \
         not answer, or answers no, the API server does not boot. A namespaceSelector does not help: what belongs to no namespace, such \
         as ServiceCIDR, IPAddress or ClusterRole, is sent whatever the selector says. That its pods run does not help either: while the \
         API server boots they may be unreachable, or refuse because the API that they ask is not up.",
    ),
    (
        "webhook-blocks-healing",
        "A webhook with failurePolicy Fail matches requests of kubelets, the scheduler or controllers without which nodes and pods do not \
         come back after a full stop. If its backend is one of those pods, the cluster waits for itself.",
    ),
    (
        "webhook-delays-boot",
        "A webhook with failurePolicy Ignore matches requests of a boot. A backend that is gone is passed over at once, one that hangs \
         costs its timeout for each request, and one that answers no refuses it in spite of the policy.",
    ),
    (
        "webhook-may-block",
        "The webhook fails closed, and whether it gets a request of the boot cannot be told from here: a match condition asks for \
         something that is not in the store, or the object is only written if the new release changes it.",
    ),
    (
        "wrong-webhook-key",
        "Many texts give the key of a webhook configuration as PREFIX/admissionregistration.k8s.io/validatingwebhookconfigurations/NAME. \
         No kube-apiserver reads or writes there: keys of built-in kinds do not name their API group. The real key is \
         PREFIX/validatingwebhookconfigurations/NAME. Deleting the other one answers \"0\" and changes nothing.",
    ),
];

/// The text of one rule.
pub fn explain(id: &str) -> Option<&'static str> {
    RULES.iter().find(|(known, _)| *known == id).map(|(_, text)| *text)
}
