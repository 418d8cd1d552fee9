//go:build tools

// Package helm pins the helm that works on the chart.
package helm

import _ "helm.sh/helm/v3/cmd/helm"
