package cluster

import "testing"

func TestSlotSurvivesItsHiding(t *testing.T) {
	seed := [16]byte{1, 2, 3, 15: 9}
	for _, slot := range []uint32{0, 1, 2, 3, 999_999, 1 << 20, 1<<32 - 1} {
		id := IDFrom(seed, slot).WithSlot(slot)
		if got := id.Slot(); got != slot {
			t.Errorf("slot %d came back as %d", slot, got)
		}
		parsed, err := ParseID(id.String())
		if err != nil || parsed != id {
			t.Errorf("ParseID(%s) = %v, %v", id, parsed, err)
		}
	}
}

func TestFirstSlotsLookLikeAnyOther(t *testing.T) {
	seen := map[string]bool{}
	for slot := range uint32(1000) {
		short := ID{15: 1}.WithSlot(slot).Short()
		if short[:4] == "0000" || seen[short[:4]] && slot < 16 {
			t.Errorf("slot %d is written %s", slot, short)
		}
		seen[short[:4]] = true
	}
}

func TestIDsOfOneSeedDiffer(t *testing.T) {
	seen := map[ID]uint32{}
	for i := range uint32(10_000) {
		id := IDFrom([16]byte{7}, i)
		if other, ok := seen[id]; ok {
			t.Fatalf("indices %d and %d give %s", other, i, id)
		}
		seen[id] = i
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, text := range []string{"x", "8d3c1f7a52be4e0f9a550c1d2e3f4a5b", "8d3c1f7a-52be-4e0f-9a55-0c1d2e3f4a5z"} {
		if id, err := ParseID(text); err == nil {
			t.Errorf("ParseID(%q) = %s", text, id)
		}
	}
}
