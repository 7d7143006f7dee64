import { TeacherBadOutput } from '../teacher-client.js';

/** A hundredth of them may be invalid. */
const WATCHED = 1000;
const INVALID_MOST = WATCHED / 100;

/** Watches how many of a teacher's last 1,000 answers are invalid. */
export class AnswerWatch {
  private answers = 0;
  private invalidAt: number[] = [];

  valid(): void {
    this.answers++;
  }

  /** Counts an invalid answer. @throws TeacherBadOutput when there are more than ten. */
  invalid(error: Error): void {
    this.invalidAt = [...this.invalidAt, this.answers++].filter((at) => at >= this.answers - WATCHED);
    if (this.invalidAt.length <= INVALID_MOST) return;
    const seen = Math.min(this.answers, WATCHED);
    throw new TeacherBadOutput(`${this.invalidAt.length} of the teacher's last ${seen} answers were invalid, and none of them was used; the last: ${error.message}`, { cause: error });
  }
}
