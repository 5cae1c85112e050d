// Writes the shapes of Kubernetes types, as their decoder sees them:
// go run ./types > ../crates/embedded/src/schema/shape/types.txt
// go run ./types internal > ../crates/embedded/src/schema/shape/internal.txt
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscaling "k8s.io/api/autoscaling/v1"
	batch "k8s.io/api/batch/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	storage "k8s.io/api/storage/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	internal "k8s.io/kubernetes/pkg/apis/core"
)

var roots = []any{
	core.Binding{}, core.ConfigMap{}, core.Event{}, core.LimitRange{}, core.Namespace{}, core.Node{},
	core.PersistentVolume{}, core.PersistentVolumeClaim{}, core.Pod{}, core.ResourceQuota{}, core.Secret{},
	core.Service{}, core.ServiceAccount{}, apps.StatefulSet{}, apps.Deployment{}, batch.Job{}, coordination.Lease{}, discovery.EndpointSlice{},
	storage.StorageClass{}, apiextensions.CustomResourceDefinition{}, rbac.Role{}, rbac.RoleBinding{},
	rbac.ClusterRole{}, rbac.ClusterRoleBinding{}, authentication.TokenReview{}, authentication.TokenRequest{},
	authentication.SelfSubjectReview{},
	authorization.SubjectAccessReview{}, authorization.SelfSubjectAccessReview{},
	authorization.LocalSubjectAccessReview{}, authorization.SelfSubjectRulesReview{},
	policy.Eviction{}, autoscaling.Scale{}, meta.DeleteOptions{}, meta.Status{},
}

// What the server shows the difference of when a change is refused.
var shown = []any{internal.PodSpec{}, internal.PodTemplateSpec{}, internal.PersistentVolumeClaimSpec{}}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()
var seen = map[string]reflect.Type{}

// name is unique among the packages and ends in what Go prints.
func name(t reflect.Type) string {
	path := t.PkgPath()
	if path == "" {
		return t.String()
	}
	parts := strings.Split(path, "/")
	short := parts[len(parts)-1]
	if short == "v1" {
		group := parts[len(parts)-2]
		if group == "core" && parts[len(parts)-3] == "api" {
			return "v1." + t.Name()
		}
		return group + "/v1." + t.Name()
	}
	return short + "." + t.Name()
}

func describe(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	own := reflect.PointerTo(t).Implements(unmarshaler)
	switch {
	case own:
		return "!" + name(t)
	case t.Kind() == reflect.Struct:
		visit(t)
		return name(t)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return "bytes"
	case t.Kind() == reflect.Slice:
		if t.Name() != "" {
			return name(t) + "=[]" + describe(t.Elem())
		}
		return "[]" + describe(t.Elem())
	case t.Kind() == reflect.Map:
		inner := "{}" + describe(t.Elem())
		if t.Name() != "" {
			return name(t) + "=" + inner
		}
		if t.Key().Name() != "string" {
			return name(t.Key()) + "=" + inner
		}
		return inner
	case t.Name() != t.Kind().String():
		return name(t) + "=" + t.Kind().String()
	}
	return t.Kind().String()
}

func visit(t reflect.Type) {
	key := name(t)
	if old, ok := seen[key]; ok {
		if old != t {
			panic("two types are called " + key)
		}
		return
	}
	seen[key] = t
	fields(t, "", func(string, string, string, string) {})
}

// none is the number of fields that protobuf does not have, such as the kind: it is beside the object.
const none = "-"

// number is that of a field in protobuf; fields that JSON has in its parent have it behind a dot.
func number(f reflect.StructField, parent string) string {
	parts := strings.Split(f.Tag.Get("protobuf"), ",")
	if len(parts) < 2 || parent == none {
		return none
	}
	return parent + parts[1]
}

func fields(t reflect.Type, parent string, yield func(name, flags, kind, number string)) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" {
			continue
		}
		if f.Anonymous && tag == "" {
			inner := f.Type
			for inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			below := number(f, parent)
			if below != none {
				below += "."
			}
			fields(inner, below, yield)
			continue
		}
		if tag == "" {
			tag = f.Name
		}
		flags := ""
		for _, option := range strings.Split(options, ",") {
			switch option {
			case "omitempty":
				flags += "o"
			case "omitzero":
				flags += "z"
			}
		}
		if f.Type.Kind() == reflect.Pointer {
			flags += "p"
		}
		if flags == "" {
			flags = "-"
		}
		yield(tag, flags, describe(f.Type), number(f, parent))
	}
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	if len(os.Args) > 1 && os.Args[1] == "internal" {
		roots = shown
	}
	for _, root := range roots {
		visit(reflect.TypeOf(root))
	}
	names := []string{}
	for key := range seen {
		names = append(names, key)
	}
	sort.Strings(names)
	for _, key := range names {
		fmt.Fprintln(out, key)
		fields(seen[key], "", func(name, flags, kind, number string) {
			fmt.Fprintf(out, " %s %s %s %s\n", name, flags, kind, number)
		})
	}
}
