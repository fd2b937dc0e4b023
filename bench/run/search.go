package run

// Search finds the largest value from low to high that holds, to a share of precision: it doubles
// until one does not, and halves the gap from there. It returns 0 if low does not hold. It assumes
// that below a value that holds all do.
func Search(low, high, precision float64, holds func(v float64) (bool, error)) (float64, error) {
	best, worst := 0.0, 0.0
	for v := low; ; v = min(2*v, high) {
		ok, err := holds(v)
		if err != nil {
			return 0, err
		}
		if !ok {
			worst = v
			break
		}
		if best = v; v >= high {
			return best, nil
		}
	}
	for best > 0 && worst-best > precision*best && worst-best >= 2 {
		v := float64(int((best + worst) / 2))
		ok, err := holds(v)
		if err != nil {
			return 0, err
		}
		if ok {
			best = v
		} else {
			worst = v
		}
	}
	return best, nil
}
