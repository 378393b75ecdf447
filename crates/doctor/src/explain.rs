//! What each rule means, at length: `bowline doctor --explain ID`.

/// The ids of all rules with their texts, in alphabetical order.
pub const RULES: &[(&str, &str)] = &[
    (
        "ipaddress-missing",
        "Since 1.33 every ClusterIP of a Service has an object IPAddress of its name. At its start the API server makes those that are \
         missing, and ends itself if that does not succeed within 60 seconds. On the first start of 1.33 or later all are missing.",
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
