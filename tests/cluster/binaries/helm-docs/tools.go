//go:build tools

// Package helmdocs pins the helm-docs that works on the chart.
package helmdocs

import _ "github.com/norwoodj/helm-docs/cmd/helm-docs"
