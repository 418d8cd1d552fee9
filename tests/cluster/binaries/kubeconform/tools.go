//go:build tools

// Package kubeconform pins the kubeconform that works on the chart.
package kubeconform

import _ "github.com/yannh/kubeconform/cmd/kubeconform"
