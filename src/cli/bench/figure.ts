/** One figure beside the machine's own limit, both measured in this run; `share` = value / limit. */
export interface Figure {
  readonly name: string;
  readonly shape: string;
  readonly value: number;
  readonly unit: string;
  readonly limit: number;
  readonly share: number;
}
