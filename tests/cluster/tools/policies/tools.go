//go:build tools

// Package policies names the program that enforces NetworkPolicies between the pods of a cluster's tests.
package policies

import _ "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
