import { Global, Module } from '@nestjs/common';
import { INSPECTION_ENTRY } from '../../src/students/student-inspection.js';
import { compiled } from './compiled.js';

/** Lets an API in the test's own process open pushed models in a thread, which cannot run TypeScript. */
@Global()
@Module({ providers: [{ provide: INSPECTION_ENTRY, useFactory: () => compiled('src/students/student-inspection.thread.ts') }], exports: [INSPECTION_ENTRY] })
export class CompiledInspection {}
