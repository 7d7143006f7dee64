import { modelCard, type CardFacts } from '../model-files/model-card.js';
import type { RunIdentity } from './identity.js';
import type { Evaluation, RunReport } from './report.js';
import type { Spec } from './spec.js';

/** What the card of a trained student tells. */
export interface StudentCardFacts {
  readonly spec: Spec;
  readonly identity: RunIdentity;
  readonly engine: string;
  readonly evaluation: Pick<RunReport['evaluation'], 'teacher' | 'before' | 'after_distill' | 'after_align'>;
  /** What the starting student's own card states. */
  readonly starting: CardFacts;
}

const COLUMNS: readonly (readonly [string, (evaluation: Evaluation) => string])[] = [
  ['forward KL on teacher text', (e) => withInterval(e.forward_kl_teacher_text, e.forward_kl_teacher_text_low, e.forward_kl_teacher_text_high)],
  ['reverse KL on own rollouts', (e) => withInterval(e.reverse_kl_own_rollouts, e.reverse_kl_own_rollouts_low, e.reverse_kl_own_rollouts_high)],
  ['top-1 agreement', (e) => e.top1_agreement.toFixed(3)],
  ['mean length', (e) => e.mean_length.toFixed(1)],
  ['cut off', (e) => e.truncated_share.toFixed(3)],
  ['looping', (e) => e.loop_share.toFixed(3)],
];

/** `README.md` of an exported student: where it comes from, how it was made, what was measured. Licence and origin of the starting student's own card are kept. */
export function studentCard({ spec, identity, engine, evaluation, starting }: StudentCardFacts): string {
  return modelCard({
    title: spec.suffix,
    license: starting.license,
    baseModel: starting.baseModel,
    tags: ['distillation'],
    sections: [
      { heading: 'Lineage', body: lineage({ spec, identity, engine }) },
      ...(starting.origin === undefined ? [] : [{ heading: 'Origin', body: `The starting student, before this run: ${starting.origin}` }]),
      { heading: 'Results', body: results(spec, evaluation) },
    ],
  });
}

function lineage({ spec, identity, engine }: Pick<StudentCardFacts, 'spec' | 'identity' | 'engine'>): string {
  const { teacher, distill, align, targets, collect } = spec.method.distillation;
  return [
    `A student distilled from the teacher \`${teacher.model}\` by Limbeck, in two phases.`,
    '',
    `- starting student: \`${spec.model}\`, hash of its weights \`${identity.student}\``,
    `- teacher: \`${teacher.model}\`, fingerprint \`${identity.teacher}\``,
    `- prompts: \`${spec.training_file}\`, hash \`${identity.prompts}\`; the teacher wrote ${collect.samples_per_prompt} answer(s) to each, top ${targets.top_k} log-probs kept`,
    `- distill (off-policy): ${distill.loss.kind}, ${distill.epochs} epochs, learning rate ${distill.learning_rate}`,
    `- align (on-policy): ${align.loss.kind}, ${align.steps} steps of ${align.prompts_per_step} rollouts, learning rate ${align.learning_rate}`,
    `- seed ${spec.seed}, spec hash \`${identity.spec}\`, engine ${engine}`,
  ].join('\n');
}

function results(spec: Spec, evaluation: StudentCardFacts['evaluation']): string {
  const rows = Object.entries(evaluation).map(([name, measured]) => `| ${[name.replace('_', ' '), ...COLUMNS.map(([, show]) => show(measured))].join(' | ')} |`);
  return [
    `On ${spec.method.distillation.evaluate.prompts} held-out prompts; KLs in nats a token with 95 % bootstrap intervals over prompts.`,
    '',
    `| | ${COLUMNS.map(([title]) => title).join(' | ')} |`,
    `|---|${COLUMNS.map(() => '---').join('|')}|`,
    ...rows,
  ].join('\n');
}

function withInterval(value: number, low: number, high: number): string {
  return `${value.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
}
