import { lookup } from 'node:dns/promises';
import { Agent, buildConnector, type Dispatcher } from 'undici';
import { EgressAllowList } from './egress-allow-list.js';
import { allowedAddresses, egressConnector, type Dialling } from './egress-connector.js';
import { EgressRefused } from './egress.errors.js';
import { parseEgressUrl, type EgressUrl } from './egress-url.js';

const CONNECT_MS = 10_000;

/** Decides which addresses this installation connects to on behalf of its users. What is not on the operator's list is not dialled, public or not. */
export class EgressPolicy {
  private readonly list: EgressAllowList;
  private readonly dialling: Dialling;

  /** @param allowed `LIMBECK_ALLOWED_TEACHERS`. @throws EgressListInvalid */
  constructor(allowed: readonly string[], dialling: Partial<Dialling> = {}) {
    this.list = new EgressAllowList(allowed);
    const connectMs = dialling.connectMs ?? CONNECT_MS;
    this.dialling = { resolve: allAddresses, connect: buildConnector({ timeout: connectMs, autoSelectFamily: false }), connectMs, ...dialling };
  }

  /** Judges a URL by what it says, without asking the name service. @throws EgressRefused */
  check(url: string): EgressUrl {
    const checked = parseEgressUrl(url);
    if (checked.address) this.list.checkAddress(checked, checked.address, checked.host);
    else this.list.checkName(checked);
    return checked;
  }

  /** Judges a URL by what it says and by what its name resolves to now; a name that does not resolve now passes, because every dial judges again. @throws EgressRefused */
  async checkResolved(url: string): Promise<EgressUrl> {
    const checked = this.check(url);
    await allowedAddresses(checked, this.list, this.dialling).catch((error: unknown) => {
      if (error instanceof EgressRefused) throw error;
    });
    return checked;
  }

  /**
   * A dispatcher for undici's `request` that reaches the origin of this URL and no other, judging every dial. It follows no redirect and knows no proxy.
   * The caller destroys it. @throws EgressRefused
   */
  dispatcher(url: string): Dispatcher {
    return new Agent({ connect: egressConnector(this.check(url), this.list, this.dialling) });
  }
}

async function allAddresses(host: string): Promise<readonly string[]> {
  const answers = await lookup(host, { all: true, verbatim: true });
  return answers.map(({ address }) => address);
}
