// CoreDNS with the plugins that a cluster's names need, and a log of what was asked: whole, it takes as long to build as the API server.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
)

func init() {
	// The order in which a query meets the plugins.
	dnsserver.Directives = []string{"bind", "ready", "log", "errors", "kubernetes"}
}

func main() {
	coremain.Run()
}
