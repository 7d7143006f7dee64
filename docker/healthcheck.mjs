// Ends with status 0 when the probe at the given URL answers 200 within 4 seconds. The images have no curl.
const [url] = process.argv.slice(2);
try {
  const { ok } = await fetch(url, { signal: AbortSignal.timeout(4_000) });
  process.exit(ok ? 0 : 1);
} catch {
  process.exit(1);
}
