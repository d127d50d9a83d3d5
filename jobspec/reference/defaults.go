package main

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
)

var jobTypes = []string{cluster.JobTypeService, cluster.JobTypeBatch, cluster.JobTypeSystem, cluster.JobTypeSysBatch}

// decodedOver is what a description of a noun in a job of the type is decoded over, nil if such a job has none.
func decodedOver(n reflect.Type, jobType string) any {
	job := cluster.DefaultJob(jobType)
	group := cluster.DefaultGroup(&job)
	task := cluster.DefaultTask(&group)
	switch n {
	case reflect.TypeFor[cluster.Job]():
		job.Name, job.NodePool, job.Namespace = "", cluster.DefaultNodePool, cluster.DefaultNamespace
		return &job
	case reflect.TypeFor[cluster.TaskGroup]():
		return &group
	case reflect.TypeFor[cluster.Task]():
		return &task
	case reflect.TypeFor[cluster.RestartPolicy]():
		return &group.RestartPolicy
	case reflect.TypeFor[cluster.ReschedulePolicy]():
		return group.ReschedulePolicy
	case reflect.TypeFor[cluster.UpdateStrategy]():
		return group.Update
	case reflect.TypeFor[cluster.MigrateStrategy]():
		return group.Migrate
	case reflect.TypeFor[cluster.Resources]():
		return &task.Resources
	}
	return nil
}

// defaultOf is a field's value where it is not written, by the types of jobs where that makes a difference.
func defaultOf(n reflect.Type, f cluster.Field) string {
	if f.Kind != cluster.FieldAttribute {
		return ""
	}
	if f.Default != "" {
		return "`" + f.Default + "`"
	}
	var values []string
	by := map[string][]string{}
	for _, jobType := range jobTypes {
		over := reflect.ValueOf(decodedOver(n, jobType))
		if !over.IsValid() || over.IsNil() {
			continue
		}
		text := show(over.Elem().Field(f.Index))
		if f.Name == "Type" {
			text = cluster.JobTypeService
		}
		if by[text] == nil {
			values = append(values, text)
		}
		by[text] = append(by[text], jobType)
	}
	if len(values) == 1 {
		if values[0] == "" {
			return ""
		}
		return "`" + values[0] + "`"
	}
	var parts []string
	for _, value := range values {
		parts = append(parts, fmt.Sprintf("%s: `%s`", strings.Join(by[value], ", "), value))
	}
	return strings.Join(parts, "; ")
}

// show is a value as a job file writes it, "" for one that says nothing.
func show(value reflect.Value) string {
	if duration, ok := value.Interface().(time.Duration); ok {
		text := duration.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return text
	}
	switch value.Kind() {
	case reflect.Bool, reflect.Int, reflect.String:
		return fmt.Sprint(value.Interface())
	case reflect.Slice:
		if list, ok := value.Interface().([]string); ok && len(list) > 0 {
			return fmt.Sprintf("%q", list)
		}
	}
	return ""
}
