//! The tables. A kind whose table leaves fields out is not `whole`.

use super::{Field, Type, boolean, inline, integer, map, message, text, time};

/// A table for the kind, and whether it names every field. `None`: only the metadata is known to be where it always is.
pub(crate) fn table_of(api_version: &str, kind: &str) -> Option<(&'static [Field], bool)> {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    Some(match (group, kind) {
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => (VALIDATING_WEBHOOKS, true),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => (MUTATING_WEBHOOKS, true),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => (VALIDATING_POLICY, true),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => (VALIDATING_BINDING, true),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => (MUTATING_POLICY, true),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => (MUTATING_BINDING, true),
        ("networking.k8s.io", "ServiceCIDR") => (SERVICE_CIDR, true),
        ("networking.k8s.io", "IPAddress") => (IP_ADDRESS, true),
        ("coordination.k8s.io", "Lease") => (LEASE, true),
        ("scheduling.k8s.io", "PriorityClass") => (PRIORITY_CLASS, true),
        // Numbers its fields otherwise than v1, and lies in no store that a supported release wrote.
        ("discovery.k8s.io", "EndpointSlice") if api_version.ends_with("/v1") => (ENDPOINT_SLICE, false),
        ("events.k8s.io", "Event") => (EVENTS_EVENT, true),
        ("", "Event") => (EVENT, true),
        ("", "Service") => (SERVICE, false),
        ("", "Endpoints") => (ENDPOINTS, true),
        ("", "Namespace") => (NAMESPACE, false),
        ("", "Node") => (NODE, false),
        ("", "Pod") => (POD, false),
        ("apps", "Deployment") => (DEPLOYMENT, false),
        ("apps", "ReplicaSet") => (REPLICA_SET, false),
        ("apps", "DaemonSet") => (DAEMON_SET, false),
        ("apps", "StatefulSet") => (STATEFUL_SET, false),
        _ => return None,
    })
}

/// Of nearly every kind: the metadata is field 1.
pub(crate) const OBJECT_META: &[Field] = &[
    text(1, "name"),
    text(2, "generateName"),
    text(3, "namespace"),
    text(4, "selfLink"),
    text(5, "uid"),
    text(6, "resourceVersion"),
    integer(7, "generation"),
    time(8, "creationTimestamp"),
    time(9, "deletionTimestamp"),
    integer(10, "deletionGracePeriodSeconds").pointer(),
    map(11, "labels"),
    map(12, "annotations"),
    message(13, "ownerReferences", OWNER_REFERENCE).list(),
    text(14, "finalizers").list(),
    message(17, "managedFields", MANAGED_FIELDS).list(),
];

const OWNER_REFERENCE: &[Field] = &[
    text(5, "apiVersion").always(),
    text(1, "kind").always(),
    text(3, "name").always(),
    text(4, "uid").always(),
    boolean(6, "controller").pointer(),
    boolean(7, "blockOwnerDeletion").pointer(),
];

const MANAGED_FIELDS: &[Field] = &[
    text(1, "manager"),
    text(2, "operation"),
    text(3, "apiVersion"),
    time(4, "time"),
    text(6, "fieldsType"),
    Field::new(7, "fieldsV1", Type::Json),
    text(8, "subresource"),
];

const METADATA: Field = message(1, "metadata", OBJECT_META);

const LABEL_SELECTOR: &[Field] = &[map(1, "matchLabels"), message(2, "matchExpressions", LABEL_REQUIREMENT).list()];

const LABEL_REQUIREMENT: &[Field] = &[text(1, "key").always(), text(2, "operator").always(), text(3, "values").list()];

const CONDITION: &[Field] = &[
    text(1, "type").always(),
    text(2, "status").always(),
    integer(3, "observedGeneration"),
    time(4, "lastTransitionTime").always(),
    text(5, "reason").always(),
    text(6, "message").always(),
];

const VALIDATING_WEBHOOKS: &[Field] = &[METADATA, message(2, "webhooks", VALIDATING_WEBHOOK).list()];
const MUTATING_WEBHOOKS: &[Field] = &[METADATA, message(2, "webhooks", MUTATING_WEBHOOK).list()];

const VALIDATING_WEBHOOK: &[Field] = &[
    text(1, "name").always(),
    message(2, "clientConfig", CLIENT_CONFIG),
    message(3, "rules", RULE_WITH_OPERATIONS).list(),
    text(4, "failurePolicy").pointer(),
    text(9, "matchPolicy").pointer(),
    message(5, "namespaceSelector", LABEL_SELECTOR),
    message(10, "objectSelector", LABEL_SELECTOR),
    text(6, "sideEffects").pointer(),
    integer(7, "timeoutSeconds").pointer(),
    text(8, "admissionReviewVersions").list(),
    message(11, "matchConditions", MATCH_CONDITION).list(),
];

const MUTATING_WEBHOOK: &[Field] = &[
    text(1, "name").always(),
    message(2, "clientConfig", CLIENT_CONFIG),
    message(3, "rules", RULE_WITH_OPERATIONS).list(),
    text(4, "failurePolicy").pointer(),
    text(9, "matchPolicy").pointer(),
    message(5, "namespaceSelector", LABEL_SELECTOR),
    message(11, "objectSelector", LABEL_SELECTOR),
    text(6, "sideEffects").pointer(),
    integer(7, "timeoutSeconds").pointer(),
    text(8, "admissionReviewVersions").list(),
    text(10, "reinvocationPolicy").pointer(),
    message(12, "matchConditions", MATCH_CONDITION).list(),
];

const CLIENT_CONFIG: &[Field] =
    &[text(3, "url").pointer(), message(1, "service", SERVICE_REFERENCE), Field::new(2, "caBundle", Type::Bytes)];

const SERVICE_REFERENCE: &[Field] =
    &[text(1, "namespace").always(), text(2, "name").always(), text(3, "path").pointer(), integer(4, "port").pointer()];

const RULE: &[Field] = &[
    text(1, "apiGroups").list(),
    text(2, "apiVersions").list(),
    text(3, "resources").list(),
    text(4, "scope").pointer(),
];

const RULE_WITH_OPERATIONS: &[Field] = &[text(1, "operations").list(), inline(2, RULE)];
const NAMED_RULE: &[Field] = &[text(1, "resourceNames").list(), inline(2, RULE_WITH_OPERATIONS)];

const MATCH_CONDITION: &[Field] = &[text(1, "name").always(), text(2, "expression").always()];

const MATCH_RESOURCES: &[Field] = &[
    message(1, "namespaceSelector", LABEL_SELECTOR),
    message(2, "objectSelector", LABEL_SELECTOR),
    message(3, "resourceRules", NAMED_RULE).list(),
    message(4, "excludeResourceRules", NAMED_RULE).list(),
    text(7, "matchPolicy").pointer(),
];

const PARAM_KIND: &[Field] = &[text(1, "apiVersion"), text(2, "kind")];

const PARAM_REF: &[Field] = &[
    text(1, "name"),
    text(2, "namespace"),
    message(3, "selector", LABEL_SELECTOR),
    text(4, "parameterNotFoundAction").pointer(),
];

const VARIABLE: &[Field] = &[text(1, "name").always(), text(2, "expression").always()];

const VALIDATING_POLICY: &[Field] =
    &[METADATA, message(2, "spec", VALIDATING_POLICY_SPEC), message(3, "status", VALIDATING_POLICY_STATUS)];

const VALIDATING_POLICY_SPEC: &[Field] = &[
    message(1, "paramKind", PARAM_KIND),
    message(2, "matchConstraints", MATCH_RESOURCES),
    message(3, "validations", VALIDATION).list(),
    text(4, "failurePolicy").pointer(),
    message(5, "auditAnnotations", AUDIT_ANNOTATION).list(),
    message(6, "matchConditions", MATCH_CONDITION).list(),
    message(7, "variables", VARIABLE).list(),
];

const VALIDATION: &[Field] =
    &[text(1, "expression").always(), text(2, "message"), text(3, "reason").pointer(), text(4, "messageExpression")];

const AUDIT_ANNOTATION: &[Field] = &[text(1, "key").always(), text(2, "valueExpression").always()];

const VALIDATING_POLICY_STATUS: &[Field] = &[
    integer(1, "observedGeneration"),
    message(2, "typeChecking", TYPE_CHECKING),
    message(3, "conditions", CONDITION).list(),
];

const TYPE_CHECKING: &[Field] = &[message(1, "expressionWarnings", EXPRESSION_WARNING).list()];
const EXPRESSION_WARNING: &[Field] = &[text(2, "fieldRef").always(), text(3, "warning").always()];

const VALIDATING_BINDING: &[Field] = &[METADATA, message(2, "spec", VALIDATING_BINDING_SPEC)];
const VALIDATING_BINDING_SPEC: &[Field] = &[
    text(1, "policyName"),
    message(2, "paramRef", PARAM_REF),
    message(3, "matchResources", MATCH_RESOURCES),
    text(4, "validationActions").list(),
];

const MUTATING_POLICY: &[Field] = &[METADATA, message(2, "spec", MUTATING_POLICY_SPEC)];
const MUTATING_POLICY_SPEC: &[Field] = &[
    message(1, "paramKind", PARAM_KIND),
    message(2, "matchConstraints", MATCH_RESOURCES),
    message(3, "variables", VARIABLE).list(),
    message(4, "mutations", MUTATION).list(),
    text(5, "failurePolicy").pointer(),
    message(6, "matchConditions", MATCH_CONDITION).list(),
    text(7, "reinvocationPolicy"),
];

const EXPRESSION: &[Field] = &[text(1, "expression")];
const MUTATION: &[Field] =
    &[text(2, "patchType").always(), message(3, "applyConfiguration", EXPRESSION), message(4, "jsonPatch", EXPRESSION)];

const MUTATING_BINDING: &[Field] = &[METADATA, message(2, "spec", MUTATING_BINDING_SPEC)];
const MUTATING_BINDING_SPEC: &[Field] =
    &[text(1, "policyName"), message(2, "paramRef", PARAM_REF), message(3, "matchResources", MATCH_RESOURCES)];

const SERVICE_CIDR: &[Field] = &[
    METADATA,
    message(2, "spec", &[text(1, "cidrs").list()]),
    message(3, "status", &[message(1, "conditions", CONDITION).list()]),
];

const IP_ADDRESS: &[Field] = &[METADATA, message(2, "spec", &[message(1, "parentRef", PARENT_REFERENCE)])];
const PARENT_REFERENCE: &[Field] = &[text(1, "group"), text(2, "resource"), text(3, "namespace"), text(4, "name")];

const LEASE: &[Field] = &[METADATA, message(2, "spec", LEASE_SPEC)];
const LEASE_SPEC: &[Field] = &[
    text(1, "holderIdentity").pointer(),
    integer(2, "leaseDurationSeconds").pointer(),
    Field::new(3, "acquireTime", Type::MicroTime),
    Field::new(4, "renewTime", Type::MicroTime),
    integer(5, "leaseTransitions").pointer(),
    text(6, "strategy").pointer(),
    text(7, "preferredHolder").pointer(),
];

const PRIORITY_CLASS: &[Field] = &[
    METADATA,
    integer(2, "value").always(),
    boolean(3, "globalDefault"),
    text(4, "description"),
    text(5, "preemptionPolicy").pointer(),
];

const OBJECT_REFERENCE: &[Field] = &[
    text(1, "kind"),
    text(2, "namespace"),
    text(3, "name"),
    text(4, "uid"),
    text(5, "apiVersion"),
    text(6, "resourceVersion"),
    text(7, "fieldPath"),
];

const EVENT: &[Field] = &[
    METADATA,
    message(2, "involvedObject", OBJECT_REFERENCE),
    text(3, "reason"),
    text(4, "message"),
    message(5, "source", EVENT_SOURCE),
    time(6, "firstTimestamp").always(),
    time(7, "lastTimestamp").always(),
    integer(8, "count"),
    text(9, "type"),
    Field::new(10, "eventTime", Type::MicroTime).always(),
    message(11, "series", EVENT_SERIES),
    text(12, "action"),
    message(13, "related", OBJECT_REFERENCE),
    text(14, "reportingComponent").always(),
    text(15, "reportingInstance").always(),
];

/// The same object in the group `events.k8s.io`, which gives other names and numbers to its fields.
const EVENTS_EVENT: &[Field] = &[
    METADATA,
    Field::new(2, "eventTime", Type::MicroTime).always(),
    message(3, "series", EVENTS_SERIES),
    text(4, "reportingController"),
    text(5, "reportingInstance"),
    text(6, "action"),
    text(7, "reason"),
    message(8, "regarding", OBJECT_REFERENCE),
    message(9, "related", OBJECT_REFERENCE),
    text(10, "note"),
    text(11, "type"),
    message(12, "deprecatedSource", EVENT_SOURCE),
    time(13, "deprecatedFirstTimestamp"),
    time(14, "deprecatedLastTimestamp"),
    integer(15, "deprecatedCount"),
];

const EVENT_SOURCE: &[Field] = &[text(1, "component"), text(2, "host")];
const EVENTS_SERIES: &[Field] =
    &[integer(1, "count").always(), Field::new(2, "lastObservedTime", Type::MicroTime).always()];

const EVENT_SERIES: &[Field] = &[integer(1, "count"), Field::new(2, "lastObservedTime", Type::MicroTime)];

const SERVICE: &[Field] = &[METADATA, message(2, "spec", SERVICE_SPEC)];
const SERVICE_SPEC: &[Field] = &[
    message(1, "ports", SERVICE_PORT).list(),
    map(2, "selector"),
    text(3, "clusterIP"),
    text(18, "clusterIPs").list(),
    text(4, "type"),
    text(5, "externalIPs").list(),
    text(10, "externalName"),
    boolean(13, "publishNotReadyAddresses"),
    text(19, "ipFamilies").list(),
    text(17, "ipFamilyPolicy").pointer(),
];
const SERVICE_PORT: &[Field] = &[
    text(1, "name"),
    text(2, "protocol"),
    text(6, "appProtocol").pointer(),
    integer(3, "port").always(),
    Field::new(4, "targetPort", Type::IntOrString),
    integer(5, "nodePort"),
];

const ENDPOINTS: &[Field] = &[METADATA, message(2, "subsets", ENDPOINT_SUBSET).list()];
const ENDPOINT_SUBSET: &[Field] = &[
    message(1, "addresses", ENDPOINT_ADDRESS).list(),
    message(2, "notReadyAddresses", ENDPOINT_ADDRESS).list(),
    message(3, "ports", ENDPOINT_PORT).list(),
];
const ENDPOINT_ADDRESS: &[Field] = &[
    text(1, "ip").always(),
    text(3, "hostname"),
    text(4, "nodeName").pointer(),
    message(2, "targetRef", OBJECT_REFERENCE),
];
const ENDPOINT_PORT: &[Field] =
    &[text(1, "name"), integer(2, "port").always(), text(3, "protocol"), text(4, "appProtocol").pointer()];

const ENDPOINT_SLICE: &[Field] =
    &[METADATA, text(4, "addressType").always(), message(2, "endpoints", SLICE_ENDPOINT).list()];
const SLICE_ENDPOINT: &[Field] = &[
    text(1, "addresses").list(),
    message(
        2,
        "conditions",
        &[boolean(1, "ready").pointer(), boolean(2, "serving").pointer(), boolean(3, "terminating").pointer()],
    ),
    text(3, "hostname").pointer(),
    message(4, "targetRef", OBJECT_REFERENCE),
    text(6, "nodeName").pointer(),
    text(7, "zone").pointer(),
];

const NAMESPACE: &[Field] =
    &[METADATA, message(2, "spec", &[text(1, "finalizers").list()]), message(3, "status", &[text(1, "phase")])];

const NODE: &[Field] = &[METADATA, message(2, "spec", NODE_SPEC), message(3, "status", NODE_STATUS)];
const NODE_SPEC: &[Field] = &[
    text(1, "podCIDR"),
    text(7, "podCIDRs").list(),
    text(3, "providerID"),
    boolean(4, "unschedulable"),
    message(5, "taints", &[text(1, "key").always(), text(2, "value"), text(3, "effect").always()]).list(),
];
const NODE_STATUS: &[Field] = &[
    message(4, "conditions", NODE_CONDITION).list(),
    message(5, "addresses", &[text(1, "type").always(), text(2, "address").always()]).list(),
    message(7, "nodeInfo", &[text(7, "kubeletVersion").always()]),
];
const NODE_CONDITION: &[Field] = &[
    text(1, "type").always(),
    text(2, "status").always(),
    time(3, "lastHeartbeatTime"),
    time(4, "lastTransitionTime"),
    text(5, "reason"),
    text(6, "message"),
];

const POD: &[Field] = &[METADATA, message(2, "spec", POD_SPEC), message(3, "status", POD_STATUS)];
const POD_SPEC: &[Field] = &[
    message(20, "initContainers", CONTAINER).list(),
    message(2, "containers", CONTAINER).list(),
    text(8, "serviceAccountName"),
    text(10, "nodeName"),
    boolean(11, "hostNetwork"),
    text(24, "priorityClassName"),
];
const CONTAINER: &[Field] =
    &[text(1, "name").always(), text(2, "image"), text(3, "command").list(), text(4, "args").list()];
const POD_STATUS: &[Field] = &[
    text(1, "phase"),
    message(2, "conditions", POD_CONDITION).list(),
    text(3, "message"),
    text(4, "reason"),
    text(5, "hostIP"),
    text(6, "podIP"),
    time(7, "startTime"),
];
const POD_CONDITION: &[Field] = &[
    text(1, "type").always(),
    text(2, "status").always(),
    time(4, "lastTransitionTime"),
    text(5, "reason"),
    text(6, "message"),
];

const POD_TEMPLATE: &[Field] = &[METADATA, message(2, "spec", POD_SPEC)];

const DEPLOYMENT: &[Field] = &[
    METADATA,
    message(
        2,
        "spec",
        &[
            integer(1, "replicas").pointer(),
            message(2, "selector", LABEL_SELECTOR),
            message(3, "template", POD_TEMPLATE),
            boolean(7, "paused"),
        ],
    ),
    message(3, "status", &[integer(2, "replicas"), integer(7, "readyReplicas"), integer(4, "availableReplicas")]),
];

const REPLICA_SET: &[Field] = &[
    METADATA,
    message(
        2,
        "spec",
        &[
            integer(1, "replicas").pointer(),
            message(2, "selector", LABEL_SELECTOR),
            message(3, "template", POD_TEMPLATE),
        ],
    ),
    message(3, "status", &[integer(1, "replicas").always(), integer(4, "readyReplicas")]),
];

const DAEMON_SET: &[Field] = &[
    METADATA,
    message(2, "spec", &[message(1, "selector", LABEL_SELECTOR), message(2, "template", POD_TEMPLATE)]),
    message(3, "status", &[integer(3, "desiredNumberScheduled").always(), integer(4, "numberReady").always()]),
];

const STATEFUL_SET: &[Field] = &[
    METADATA,
    message(
        2,
        "spec",
        &[
            integer(1, "replicas").pointer(),
            message(2, "selector", LABEL_SELECTOR),
            message(3, "template", POD_TEMPLATE),
        ],
    ),
    message(3, "status", &[integer(2, "replicas").always(), integer(3, "readyReplicas")]),
];
