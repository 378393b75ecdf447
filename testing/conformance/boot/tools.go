// Package boot proves the second night on a real kube-apiserver: a webhook keeps it from booting, the doctor frees it
// through the store, and it goes on by itself.
package boot

// Kept in go.mod, so that the script `run` can build the program.
import _ "k8s.io/kubernetes/cmd/kube-apiserver/app"
