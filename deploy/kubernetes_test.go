package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// kinds compiles the schema of each kind in testdata, which is Kubernetes' own.
func kinds(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	const file = "testdata/kubernetes-1.37.schema.json"
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(read(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(file, doc); err != nil {
		t.Fatal(err)
	}
	compiled := map[string]*jsonschema.Schema{}
	for kind := range doc.(map[string]any)["kinds"].(map[string]any) {
		if compiled[kind], err = compiler.Compile(file + "#/kinds/" + kind); err != nil {
			t.Fatal(err)
		}
	}
	return compiled
}

// objects reads a file of YAML documents.
func objects(t *testing.T, text string) []map[string]any {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(text))
	var all []map[string]any
	for {
		var object map[string]any
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, object)
	}
}

// check holds an object to the schema of its kind.
func check(schemas map[string]*jsonschema.Schema, object map[string]any) error {
	kind := fmt.Sprint(object["kind"])
	schema, known := schemas[kind]
	if !known {
		return fmt.Errorf("there is no schema for kind %q", kind)
	}
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func TestKubernetesTakesTheManifests(t *testing.T) {
	schemas := kinds(t)
	seen := map[string]bool{}
	for _, object := range objects(t, read(t, "kubernetes.yaml")) {
		if err := check(schemas, object); err != nil {
			t.Errorf("%v: %v", object["kind"], err)
		}
		seen[fmt.Sprint(object["kind"])] = true
	}
	for _, kind := range []string{"ServiceAccount", "Deployment", "PodDisruptionBudget", "Service", "NetworkPolicy"} {
		if !seen[kind] {
			t.Errorf("there is no %s", kind)
		}
	}
}

// TestSchemaCheckFindsMistakes: a check that passes everything helps nobody.
func TestSchemaCheckFindsMistakes(t *testing.T) {
	schemas, text := kinds(t), read(t, "kubernetes.yaml")
	for name, mistake := range map[string][2]string{
		"unknown member":          {"readinessProbe:", "readynessProbe:"},
		"wrong type":              {"periodSeconds: 10", "periodSeconds: ten"},
		"missing selector":        {"  selector:\n    matchLabels: {app: refundd}\n  strategy:", "  strategy:"},
		"member of another level": {"      terminationGracePeriodSeconds: 45", "      replicas: 3"},
		"unknown policy":          {"maxUnavailable: 1\n", "maxUnavailabel: 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(text, mistake[0]) {
				t.Fatalf("kubernetes.yaml does not hold %q", mistake[0])
			}
			for _, object := range objects(t, strings.Replace(text, mistake[0], mistake[1], 1)) {
				if check(schemas, object) != nil {
					return
				}
			}
			t.Error("it is not found")
		})
	}
}

// TestScaledObjectScalesTheDeployment: KEDA's own schema is not here, so this
// holds what its documentation requires.
func TestScaledObjectScalesTheDeployment(t *testing.T) {
	var object struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   struct{ Name string }
		Spec       struct {
			ScaleTargetRef  struct{ Name string } `yaml:"scaleTargetRef"`
			MinReplicaCount int                   `yaml:"minReplicaCount"`
			MaxReplicaCount int                   `yaml:"maxReplicaCount"`
			Fallback        struct {
				FailureThreshold int `yaml:"failureThreshold"`
				Replicas         int
			}
			Advanced struct {
				HPA struct {
					Behavior map[string]struct {
						StabilizationWindowSeconds int `yaml:"stabilizationWindowSeconds"`
						Policies                   []struct {
							Type          string
							Value         int
							PeriodSeconds int `yaml:"periodSeconds"`
						}
					}
				} `yaml:"horizontalPodAutoscalerConfig"`
			}
			Triggers []struct {
				Type     string
				Metadata map[string]string // KEDA takes strings alone
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(read(t, "keda.yaml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&object); err != nil {
		t.Fatal(err)
	}
	spec := object.Spec
	if object.APIVersion != "keda.sh/v1alpha1" || object.Kind != "ScaledObject" || spec.ScaleTargetRef.Name != "refundd" {
		t.Errorf("%s %s scales %q", object.APIVersion, object.Kind, spec.ScaleTargetRef.Name)
	}
	if spec.MinReplicaCount < 1 || spec.MaxReplicaCount < spec.Fallback.Replicas {
		t.Errorf("%d to %d replicas, %d while Prometheus is away", spec.MinReplicaCount, spec.MaxReplicaCount, spec.Fallback.Replicas)
	}
	if len(spec.Triggers) != 1 || spec.Triggers[0].Type != "prometheus" {
		t.Fatalf("triggers: %v", spec.Triggers)
	}
	for _, parameter := range []string{"serverAddress", "query", "threshold"} {
		if spec.Triggers[0].Metadata[parameter] == "" {
			t.Errorf("the trigger has no %s", parameter)
		}
	}
}
