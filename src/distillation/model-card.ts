import type { RunIdentity } from './identity.js';
import type { Evaluation, RunReport } from './report.js';
import type { Spec } from './spec.js';

/** What a model card tells. */
export interface ModelCardFacts {
  readonly spec: Spec;
  readonly identity: RunIdentity;
  readonly engine: string;
  readonly evaluation: Pick<RunReport['evaluation'], 'teacher' | 'before' | 'after_distill' | 'after_align'>;
}

const COLUMNS: readonly (readonly [string, (evaluation: Evaluation) => string])[] = [
  ['forward KL on teacher text', (e) => withInterval(e.forward_kl_teacher_text, e.forward_kl_teacher_text_low, e.forward_kl_teacher_text_high)],
  ['reverse KL on own rollouts', (e) => withInterval(e.reverse_kl_own_rollouts, e.reverse_kl_own_rollouts_low, e.reverse_kl_own_rollouts_high)],
  ['top-1 agreement', (e) => e.top1_agreement.toFixed(3)],
  ['mean length', (e) => e.mean_length.toFixed(1)],
  ['cut off', (e) => e.truncated_share.toFixed(3)],
  ['looping', (e) => e.loop_share.toFixed(3)],
];

/** `README.md` of an exported student: where it comes from, how it was made, what was measured. */
export function modelCard({ spec, identity, engine, evaluation }: ModelCardFacts): string {
  const { teacher, distill, align, targets, collect, evaluate } = spec.method.distillation;
  const rows = Object.entries(evaluation).map(([name, measured]) => `| ${[name.replace('_', ' '), ...COLUMNS.map(([, show]) => show(measured))].join(' | ')} |`);
  return [
    '---',
    'library_name: transformers',
    'pipeline_tag: text-generation',
    'tags: [distillation]',
    '---',
    '',
    `# ${spec.suffix}`,
    '',
    `A student distilled from the teacher \`${teacher.model}\` by Limbeck, in two phases.`,
    '',
    '## Lineage',
    '',
    `- starting student: \`${spec.model}\`, hash of its weights \`${identity.student}\``,
    `- teacher: \`${teacher.model}\`, fingerprint \`${identity.teacher}\``,
    `- prompts: \`${spec.training_file}\`, hash \`${identity.prompts}\`; the teacher wrote ${collect.samples_per_prompt} answer(s) to each, top ${targets.top_k} log-probs kept`,
    `- distill (off-policy): ${distill.loss.kind}, ${distill.epochs} epochs, learning rate ${distill.learning_rate}`,
    `- align (on-policy): ${align.loss.kind}, ${align.steps} steps of ${align.prompts_per_step} rollouts, learning rate ${align.learning_rate}`,
    `- seed ${spec.seed}, spec hash \`${identity.spec}\`, engine ${engine}`,
    '',
    '## Results',
    '',
    `On ${evaluate.prompts} held-out prompts; KLs in nats a token with 95 % bootstrap intervals over prompts.`,
    '',
    `| | ${COLUMNS.map(([title]) => title).join(' | ')} |`,
    `|---|${COLUMNS.map(() => '---').join('|')}|`,
    ...rows,
    '',
  ].join('\n');
}

function withInterval(value: number, low: number, high: number): string {
  return `${value.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
}
