/** What the server has been asked and has answered since it started. */
export class TeacherCounters {
  private readonly counts = new Map<string, number>();

  add(name: CounterName, amount = 1): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + amount);
  }

  /** @param gauges what is the case now. @returns Prometheus text format 0.0.4. */
  text(gauges: { readonly waiting: number; readonly running: number }): string {
    const counters = Object.entries(HELP).map(([name, help]) => metric(`limbeck_teacher_${name}_total`, help, { type: 'counter', value: this.counts.get(name) ?? 0 }));
    return [
      ...counters,
      metric('limbeck_teacher_sequences_waiting', 'Sequences that wait for a place.', { type: 'gauge', value: gauges.waiting }),
      metric('limbeck_teacher_sequences_running', 'Sequences that hold a place.', { type: 'gauge', value: gauges.running }),
    ].join('');
  }
}

const HELP = {
  requests: 'Completion requests taken in.',
  requests_refused_full: 'Completion requests answered 429.',
  sequences_generated_asked: 'Completions asked for without prompt log-probs.',
  sequences_generated: 'Completions finished without prompt log-probs.',
  sequences_scored_asked: 'Sequences asked for with prompt log-probs.',
  sequences_scored: 'Sequences finished with prompt log-probs.',
  sequences_abandoned: 'Sequences whose client hung up.',
  prompt_tokens: 'Prompt tokens read.',
  completion_tokens: 'Tokens generated.',
  runs: 'Runs of the model.',
} as const;

export type CounterName = keyof typeof HELP;

function metric(name: string, help: string, sample: { readonly type: 'counter' | 'gauge'; readonly value: number }): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${sample.type}\n${name} ${sample.value}\n`;
}
