// Testenv is a real Kubernetes in one program, for tests: one subcommand per process,
// because signal handling, feature gates and metrics belong to the whole process.
//
// Called through a link named kubectl it is kubectl.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"go.etcd.io/etcd/server/v3/embed"
)

const usage = `usage: testenv PART [FLAG]...

PART is one of:
  apiserver, controller-manager, scheduler, kubelet, kubectl   with the flags of Kubernetes
  etcd CONFIG                                                  with an etcd configuration file
`

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		runKubectl()
	}
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	part := os.Args[1]
	// Kubernetes' commands read os.Args themselves.
	os.Args = append([]string{part}, os.Args[2:]...)
	switch part {
	case "apiserver":
		run(apiserver.NewAPIServerCommand())
	case "controller-manager":
		run(controllermanager.NewControllerManagerCommand())
	case "scheduler":
		run(scheduler.NewSchedulerCommand())
	case "kubelet":
		run(kubelet.NewKubeletCommand(context.Background()))
	case "kubectl":
		runKubectl()
	case "etcd":
		if err := runEtcd(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "etcd:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprintf(os.Stderr, "testenv: unknown part %q\n%s", part, usage)
		os.Exit(2)
	}
}

func run(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

func runKubectl() {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
	os.Exit(0)
}

// runEtcd serves until a signal comes or the server fails.
func runEtcd(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("wants one argument, the configuration file")
	}
	config, err := embed.ConfigFromFile(args[0])
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case <-signals:
		return nil
	case err := <-server.Err():
		return err
	}
	select {
	case <-signals:
		return nil
	case err := <-server.Err():
		return err
	}
}
