// The anomaly score, as runtime/latent/score.py computes it.

/** The mean squared difference of two images. */
export const squaredError = (a, b) => a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length;

/** The distance of a code to the nearest of draws [n * latent], in standard deviations of the draws. */
export function distanceFrom(z, draws) {
  const latent = z.length;
  let nearest = Infinity;
  for (let row = 0; row < draws.length; row += latent) {
    let squared = 0;
    for (let i = 0; i < latent; i++) squared += (z[i] - draws[row + i]) ** 2;
    nearest = Math.min(nearest, squared);
  }
  return Math.sqrt(nearest) / spreadOf(draws, latent);
}

function spreadOf(draws, latent) {
  const variances = Array.from({ length: latent }, (_, i) => standardDeviation(draws.filter((_, at) => at % latent === i)) ** 2);
  return Math.sqrt(variances.reduce((a, b) => a + b, 0) / latent);
}

function standardDeviation(values) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** The score of an image with its reconstruction's squared error and its code's distance; above limits.threshold it is anomalous. */
export function scoreOf(image, error, distance, limits) {
  const score = error / limits.reconstruction + Math.max(0, distance / limits.distance - 1);
  const contrast = standardDeviation(image);
  const smallest = Math.max(limits.contrast, 1e-6);
  return contrast < smallest ? score + limits.threshold * (2 - contrast / smallest) : score;
}

/** Which percentage of ascending percentiles 0 to 100 a value is above. */
export function percentileOf(value, percentiles) {
  const above = percentiles.findIndex((percentile) => percentile >= value);
  return above < 0 ? 100 : above;
}
